"""Handlers of the pages, one module for each page.

A handler reads from the store, has a view model computed (``views``) and renders a template (``layout.page``). It
raises loopkit's errors or a ``Refused``; ``problem_page`` shows them.
"""
