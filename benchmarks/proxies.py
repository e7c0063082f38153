"""The configurations of the proxies from the distribution's packages.

Each has one worker, TLS 1.3 only, session tickets as it comes, and no log of connections; everything else is
its default. Each writes its file into the run's folder and gives the command that reads it.
"""

from __future__ import annotations

import os

from .order import Order

NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"


def nginx(order: Order) -> list[str]:
    verify = f"ssl_client_certificate {order.client_ca}; ssl_verify_client on;" if order.client_ca else ""
    order.write(
        "nginx.conf",
        f"""\
        load_module {NGINX_STREAM};
        worker_processes 1;
        daemon off;
        pid {order.folder}/nginx.pid;
        events {{ worker_connections 8192; }}
        stream {{
            server {{
                listen 127.0.0.1:{order.port} ssl;
                ssl_protocols TLSv1.3;
                ssl_certificate {order.identity.certificate};
                ssl_certificate_key {order.identity.key};
                {verify}
                proxy_pass 127.0.0.1:{order.backend};
            }}
        }}
        """,
    )
    return ["nginx", "-c", f"{order.folder}/nginx.conf", "-e", "stderr"]


def hitch(order: Order) -> list[str]:
    more = f'client-verify = required\nclient-verify-ca = "{order.client_ca}"' if order.client_ca else ""
    if os.geteuid() == 0:
        more += '\nuser = "nobody"\ngroup = "nogroup"'  # as root it refuses to work
    order.write(
        "hitch.conf",
        f"""\
        frontend = "[127.0.0.1]:{order.port}"
        backend = "[127.0.0.1]:{order.backend}"
        pem-file = "{order.identity.both}"
        tls-protos = TLSv1.3
        workers = 1
        daemon = off
        ocsp-dir = ""
        log-level = 1
        """,
        more,
    )
    return ["hitch", f"--config={order.folder}/hitch.conf"]


def haproxy(order: Order) -> list[str]:
    verify = f"ca-file {order.client_ca} verify required" if order.client_ca else ""
    order.write(
        "haproxy.conf",
        f"""\
        global
            nbthread 1
            maxconn 4096
        defaults
            mode tcp
            timeout connect 10s
            timeout client 10m
            timeout server 10m
        listen tls
            bind 127.0.0.1:{order.port} ssl crt {order.identity.both} ssl-min-ver TLSv1.3 {verify}
            server plain 127.0.0.1:{order.backend}
        """,
    )
    return ["haproxy", "-db", "-f", f"{order.folder}/haproxy.conf"]


def stunnel(order: Order) -> list[str]:
    verify = f"CAfile = {order.client_ca}\nverifyChain = yes" if order.client_ca else ""
    order.write(
        "stunnel.conf",
        f"""\
        foreground = yes
        pid =
        debug = err
        syslog = no
        [tls]
        accept = 127.0.0.1:{order.port}
        connect = 127.0.0.1:{order.backend}
        cert = {order.identity.certificate}
        key = {order.identity.key}
        sslVersionMin = TLSv1.3
        """,
        verify,
    )
    return ["stunnel4", f"{order.folder}/stunnel.conf"]
