"""The page at /: Swagger UI over our own description, from files that BentoML brings along.

BentoML's own page loads a tag manager of a third party, which could read what is typed there.
"""

from starlette.responses import HTMLResponse

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>latentserve</title>
<link rel="stylesheet" href="static_content/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true})</script>
</body>
</html>
"""


def page() -> HTMLResponse:
    """The page; what it loads comes from this server alone."""
    policy = "default-src 'self' 'unsafe-inline' data: blob:"
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": policy})
