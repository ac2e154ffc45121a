"""`limen connect`: TCP services of an organisation, reached from a laptop through its gateway.

A pure client. It imports `limen.core` and nothing else of Limen, and needs none of the server's
dependencies: it installs on Linux, macOS and Windows.

Laws:
    N1 nothing is sent in the clear, and nothing to a gateway whose certificate and name do not match.
    N2 the token leaves in one header of one encrypted connection, or in the body of its revocation;
       it never stands in an argument list, a log, an error, a file that others can read.
    N3 bounded: one stream holds at most its window of bytes each way, whatever the other side does.
    N4 transparent: what one side sent, and that it stopped sending, is what the other side sees; a
       stream that was cut never looks like one that was finished.
    N5 nothing that a server says reaches the terminal with control characters in it.
"""
