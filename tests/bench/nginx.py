"""nginx's configuration: as an upstream that answers a constant, and as the measure of all."""

import os
from pathlib import Path

from tests.bench.bodies import ANSWER


def whole(servers: str, folder: Path) -> str:
    """Return a configuration of one worker around ``server`` blocks; nothing outside ``folder``."""
    owner = "user root;" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"    {kind}_temp_path {folder}/{kind};" for kind in kinds)
    return f"""{owner}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 100000000;
    keepalive_timeout 75s;
    client_max_body_size 0;
    client_body_buffer_size 64k;
    proxy_buffering off;
{places}
{servers}
}}
"""


def constant_upstream(port: int, status_port: int) -> str:
    """Answer every request with a constant; tell their number on another port."""
    return f"""
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 '{ANSWER.decode()}'; }}
    }}
    {status(status_port)}"""


def status(port: int) -> str:
    """Tell the number of requests so far."""
    return f"server {{ listen 127.0.0.1:{port}; location / {{ stub_status; }} }}"


def proxy(port: int, upstream_port: int, ca: Path | None = None) -> str:
    """Forward everything over kept connections, unbuffered; ``ca``: over verified TLS."""
    verified = (
        f"proxy_ssl_trusted_certificate {ca}; proxy_ssl_verify on; proxy_ssl_name 127.0.0.1;"
        if ca
        else ""
    )
    return f"""
    upstream behind {{
        server 127.0.0.1:{upstream_port};
        keepalive 4096;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass {"https" if ca else "http"}://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {verified}
        }}
    }}"""


def tls_upstream(port: int, stream_port: int, upstream_port: int, certificate: Path) -> str:
    """Answer over TLS: ``port`` a constant (:data:`ANSWER`), ``stream_port`` what is behind."""
    shared = f"""
        ssl_certificate {certificate};
        ssl_certificate_key {certificate.with_suffix(".key")};
        ssl_session_cache shared:tls:1m;"""
    return f"""
    upstream streams {{
        server 127.0.0.1:{upstream_port};
        keepalive 1024;
    }}
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;{shared}
        location / {{ return 200 '{ANSWER.decode()}'; }}
    }}
    server {{
        listen 127.0.0.1:{stream_port} ssl backlog=4096;{shared}
        location / {{
            proxy_pass http://streams;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}"""
