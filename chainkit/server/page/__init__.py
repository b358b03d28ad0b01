"""The page at `/`: documents asked and uploaded, chats, programs, groups and tokens, in a browser.

    app = create_app(catalogue, settings, page=True)

The files in `static` are sent as they are; what they ask for are endpoints that any client may use.
"""
