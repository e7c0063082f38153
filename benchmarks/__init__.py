"""What TLS costs a server: mytls beside the servers that people use instead.

    python -m benchmarks                         everything, about twenty minutes
    python -m benchmarks --quick                 one short round, to see that it works
    python -m benchmarks --rows echo --servers mytls,uvloop --seconds 5
    python -m benchmarks --write docs/           writes docs/performance.md and its picture too

The modules, from door to value:

    __main__      the command line
    picture       results -> an SVG of the ratios
    report        results -> the terminal's table and the page
    figures       samples -> medians, ratios and what has to be said beside them
    measure       runs the load in interleaved rounds -> results
    processes     starts, pins and ends one server; compiles the C programs
    servers       who is measured, and how each is started
    proxies       the configurations of nginx, hitch, HAProxy and stunnel
    order         value: what a server is asked to do
    certificates  the keys and certificates of a run
    rows          what is measured, which figure is drawn from it, and the aims
    results       values: what one run gave, and all of them

    load.c        the load client          plain.c    the echo server behind the proxies
    peers/        the Python servers that are compared
"""
