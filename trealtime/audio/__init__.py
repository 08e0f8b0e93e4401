"""Audio in the three formats of the Realtime API: pure functions and small streaming objects, no Trio.

`formats` needs neither numpy nor anything else heavy; `pcm` touches numpy only for values that are arrays; `g711`,
`levels`, `resample` and `wav` import it.
"""
