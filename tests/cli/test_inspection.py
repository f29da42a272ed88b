"""``convnet summary``, ``profile`` and ``info``."""

import json

import pytest

import convnet


def test_a_summary_shows_layers_and_plan(convnet_command, trained):
    done = convnet_command("summary", trained)
    assert done.code == 0, done.err
    model = convnet.load_model(trained / "model.npz")
    assert done.out.startswith(f"{trained}: Sequential, 4 classes (disc, horizontal, ring, vertical)\n")
    assert model.summary() in done.out
    assert str(model.plan()) in done.out
    found = json.loads(convnet_command("summary", trained, "--json").out)
    assert found["input_shape"] == [3, 16, 16]
    assert found["parameters"] == sum(param.size for param in model.params.values())
    assert [layer["name"] for layer in found["layers"]] == list(model.layers)
    assert found["layers"][0]["multiply_adds"] == 64 * 3 * 9 * 16 * 16
    assert found["layers"][-1] == {
        "name": "affine2",
        "kind": "Affine",
        "output_shape": [4],
        "parameters": 128 * 4 + 4,
        "multiply_adds": 128 * 4,
    }


@pytest.mark.parametrize("options", [[], ["--predict"]])
def test_a_profile_measures_the_stages(convnet_command, trained, options):
    done = convnet_command("profile", trained, "--batch-size", 7, *options)
    assert done.code == 0, done.err
    assert "7 examples" in done.out.splitlines()[0]
    found = json.loads(convnet_command("profile", trained, "--batch-size", 7, *options, "--json").out)
    assert found["batch_size"] == 7
    model = convnet.load_model(trained / "model.npz")
    stages = model.plan().prediction_stages if options else model.plan().stages
    assert [stage["name"] for stage in found["stages"]] == [stage.label for stage in stages]
    assert all(stage["forward"] > 0 for stage in found["stages"])
    assert (found["total"]["backward"] == 0) == bool(options)


def test_info_is_what_show_config_prints(convnet_command, capfd):
    done = convnet_command("info")
    convnet.show_config()
    assert capfd.readouterr().out == done.out
    found = json.loads(convnet_command("info", "--json").out)
    assert found["threads"] == convnet.get_num_threads()
    assert f"in use: {found['instruction_set']}\n" in done.out


def test_a_folder_that_is_no_run_is_told(convnet_command):
    done = convnet_command("summary", ".")
    assert done.error == ("convnet: error: .: expected a model file or the folder of a run, got no model.npz in it")
