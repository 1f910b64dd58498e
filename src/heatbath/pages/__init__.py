"""Parts of reports: tables and figures of self-contained HTML pages, and the style of their figures."""
