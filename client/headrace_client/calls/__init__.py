"""Calls that resolve when their result arrives: the asynchronous client and the synchronous one."""
