"""How the documentation is built: Markdown pages, furo, every warning an error."""

project = "skydesk"
author = "the skydesk developers"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "skydesk"
html_favicon = "../hub/src/skydesk_hub/identity/static/skydesk.svg"
html_static_path: list[str] = []
