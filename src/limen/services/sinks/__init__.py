"""Live sinks: the journal's records sent to collectors as they are written, at least once.

Laws:
    K1 at least once. Each record of the classes asked for that is in the journal reaches the collector,
        whatever dies in between: the cursor moves only after the collector has confirmed.
    K2 apart. A collector that is slow, away or hostile slows nothing and holds no more than two batches.
    K3 known again. Each message has the record's place in the journal, so duplicates are told.
"""
