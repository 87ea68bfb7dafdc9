"""Instructions of a request and of a streamed event, counted by valgrind: a guard against growth that a busy machine cannot
blur. Entry: scripts/count-instructions.

Each is the difference of two runs that differ in nothing but how often it happened, so that start, warming up and the end
cancel out. What varies all the same: seeds of hash maps (which keys share a bucket), what a timer of 50 ms or a second did
meanwhile (flushes of the outbox and the journal, sums of the keeper), and how much one wake-up of epoll brings. One client that
asks one thing after the other keeps the last constant. The first two are mostly other threads' work, which is shown and not
compared. Who counts on another kind of processor gets other numbers: libraries choose by what the processor can.
"""
