"""The documentation as a site: what `mkdocs.yml` names, and the pages that are generated."""
