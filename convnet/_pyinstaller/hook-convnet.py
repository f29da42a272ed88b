"""Hook of PyInstaller: the digits and the page's parts go with the package."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("convnet")
