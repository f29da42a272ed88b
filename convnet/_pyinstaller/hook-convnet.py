"""Hook of PyInstaller: the digits, the page's parts, and the modules that are imported when they are first used."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("convnet")
hiddenimports = collect_submodules("convnet")
