"""Programs in the style of the SDK's realtime examples, ported as the documentation says.

With ``trealtime.compat`` replaced by ``agents`` each type-checks against the SDK.
"""
