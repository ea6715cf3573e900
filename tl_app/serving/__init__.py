"""Who may ask the app for what: three sets of rules, and the guard that stands between the network and the page.

- :mod:`~tl_app.serving.rules`: ``local(port)``, ``lan(port, logins=…)`` and ``public(port)`` each make a ``Rules``.
- :mod:`~tl_app.serving.guard`: ``Guard(app, rules)``, ASGI middleware that holds them; gradio takes it with
  ``launch(app_kwargs={"middleware": [Middleware(Guard, rules=rules)]})``.
- :mod:`~tl_app.serving.kept_page`: ``KeptPage(app, version)``, middleware behind it that has a page made once.
- :mod:`~tl_app.serving.logins`: hashed passwords, tries, sessions.

The page's queue is part of it: ``page.queue(max_size=rules.waiting, api_open=False)``, as with an open API anyone
passes the queue by. A server that should be reached through a tunnel is given its names:
``public(port, hosts=("*.gradio.live",))``.
"""
