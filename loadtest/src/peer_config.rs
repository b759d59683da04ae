//! The same job in each proxy's own language: one worker, two backends by weight, connections kept on both sides, no log.
//!
//! Each sends `x-forwarded-for`, none writes an access log, none limits what the load needs. Everything else is the
//! proxy's default. Pure: text from a [`Site`].

use std::path::Path;

use crate::backend::BODY_BYTES;
use crate::load::Protocol;
use crate::peer::{Features, Site};

/// More requests than any run makes on one connection; nginx closes after 1,000 by default.
const NGINX_KEEPALIVE_REQUESTS: u32 = 1_000_000_000;

/// Upstream connections to keep, and the most of them: 64 connections × 10 streams, and room.
const UPSTREAM_CONNECTIONS: u32 = 2048;

/// The file for Serin (`design.md` §1).
pub(crate) fn serin(site: &Site, directory: &Path) -> String {
    let Site {
        port,
        admin_port,
        backends: [stable, canary],
        weights: [of_stable, of_canary],
        ..
    } = site;
    let Site {
        connections_max,
        timeout_s,
        ..
    } = site;
    let state = directory.join("state");
    let state = state.display();
    let tls = site.certificate.as_ref().map_or_else(String::new, |certificate| {
        let (chain, key) = (certificate.chain.display(), certificate.key.display());
        format!("\n  tls: {{ certificates: [{{ certificate: '{chain}', key: '{key}' }}], minVersion: \"1.3\" }}")
    });
    let [access, key_and_cohorts, rollout] = match site.features {
        Features::Plain => ["off", "", ""],
        Features::Judged | Features::All => ["errors", SERIN_COHORTS, SERIN_ROLLOUT],
    };
    let outcome_log = match site.features {
        Features::Plain | Features::Judged => String::new(),
        Features::All => format!("outcomeLog: {{ file: '{}/logs/outcomes' }}\n", directory.display()),
    };
    format!(
        "version: 1
listeners:
- name: public
  address: 127.0.0.1:{port}
  timeouts: {{ idle: 10m }}
  limits: {{ connections: {connections_max} }}{tls}
admin: {{ address: 127.0.0.1:{admin_port} }}
log: {{ level: warn, access: {access} }}
state: {{ directory: '{state}' }}
{outcome_log}backends:
- name: stable
  endpoints: [127.0.0.1:{stable}]
  limits: {{ maxInFlight: {UPSTREAM_CONNECTIONS}, maxConnections: {UPSTREAM_CONNECTIONS} }}
- name: canary
  endpoints: [127.0.0.1:{canary}]
  limits: {{ maxInFlight: {UPSTREAM_CONNECTIONS}, maxConnections: {UPSTREAM_CONNECTIONS} }}
routes:
- name: shop
  match: {{ pathPrefix: / }}
  timeout: {timeout_s}s
  split:
    variants:
    - {{ name: stable, backend: stable, weight: {of_stable} }}
    - {{ name: canary, backend: canary, weight: {of_canary} }}
{key_and_cohorts}{rollout}"
    )
}

/// Below `split`: what keeps a user on one side, and who sees the canary by rule. Requests without the header draw anew.
const SERIN_COHORTS: &str = "    key: { header: x-user-id }
    cohorts:
    - { name: staff, keys: [alice, bob, carol], variant: canary }
    - { name: beta, headers: [{ name: x-canary, exact: \"true\" }], variant: canary }
";

/// A standing guard: it judges as long as the canary has weight. The budget is more than any healthy run uses.
const SERIN_ROLLOUT: &str = "rollouts:
- name: shop
  route: shop
  from: stable
  to: canary
  analysis:
    compareWith: stable
    errorRate: { warn: 0.5%, critical: 5% }
    latencyP95: { warn: 500ms, critical: 1000ms }
    latencyP99: { critical: 2s }
  budget: { failedRequests: 1000, inFlight: 1000 }
";

/// The file for nginx as a proxy.
pub(crate) fn nginx(site: &Site, directory: &Path) -> String {
    let Site {
        port,
        backends: [stable, canary],
        weights: [of_stable, of_canary],
        timeout_s,
        ..
    } = site;
    let http2 = match site.protocol {
        Protocol::H1 => "",
        Protocol::H2 => " http2",
    };
    let (ssl, certificate) = site.certificate.as_ref().map_or_else(Default::default, |certificate| {
        let (chain, key) = (certificate.chain.display(), certificate.key.display());
        let lines = format!("\n    ssl_certificate '{chain}'; ssl_certificate_key '{key}'; ssl_protocols TLSv1.3;");
        (" ssl", lines)
    });
    let canary_percent = f64::from(*of_canary) * 100.0 / f64::from(of_stable + of_canary);
    // Each client connection may hold one upstream.
    let connections = 2 * site.connections_max + UPSTREAM_CONNECTIONS;
    let head = nginx_head(connections, "nginx.pid", directory);
    format!(
        "{head}
  split_clients \"$connection-$connection_requests\" $side {{ {canary_percent}% canary; * stable; }}
  upstream stable {{
    server 127.0.0.1:{stable};
    keepalive {UPSTREAM_CONNECTIONS}; keepalive_requests {NGINX_KEEPALIVE_REQUESTS};
  }}
  upstream canary {{
    server 127.0.0.1:{canary};
    keepalive {UPSTREAM_CONNECTIONS}; keepalive_requests {NGINX_KEEPALIVE_REQUESTS};
  }}
  server {{
    listen 127.0.0.1:{port}{ssl}{http2};{certificate}
    location / {{
      proxy_pass http://$side;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_read_timeout {timeout_s}s;
    }}
  }}
}}
"
    )
}

/// The file for nginx as both backends.
pub(crate) fn nginx_backends(ports: [u16; 2], directory: &Path) -> String {
    let head = nginx_head(2 * UPSTREAM_CONNECTIONS, "backends.pid", directory);
    let body = "x".repeat(BODY_BYTES);
    let server = |port: u16, name: &str| {
        format!(
            "  server {{
    listen 127.0.0.1:{port};
    default_type text/plain;
    add_header x-served-by {name};
    location / {{ return 200 \"{body}\"; }}
  }}
"
        )
    };
    format!(
        "{head}\n{}{}}}\n",
        server(ports[0], "stable"),
        server(ports[1], "canary")
    )
}

/// What both uses of nginx share; `http` is left open.
fn nginx_head(connections: u32, pid_file: &str, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile {connections};
pid \"{directory}/{pid_file}\";
error_log stderr warn;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  keepalive_timeout 600s;
  keepalive_requests {NGINX_KEEPALIVE_REQUESTS};
  client_body_temp_path \"{directory}/body\";
  proxy_temp_path \"{directory}/proxy\";
  fastcgi_temp_path \"{directory}/fastcgi\";
  uwsgi_temp_path \"{directory}/uwsgi\";
  scgi_temp_path \"{directory}/scgi\";"
    )
}

/// The file for HAProxy.
pub(crate) fn haproxy(site: &Site) -> String {
    let Site {
        port,
        backends: [stable, canary],
        weights: [of_stable, of_canary],
        ..
    } = site;
    let Site {
        connections_max,
        timeout_s,
        ..
    } = site;
    let proto = match (site.protocol, &site.certificate) {
        (Protocol::H1, None) => String::new(),
        (Protocol::H2, None) => " proto h2".to_owned(),
        (protocol, Some(certificate)) => format!(
            " ssl crt {} ssl-min-ver TLSv1.3 alpn {}",
            certificate.both.display(),
            protocol.alpn()
        ),
    };
    format!(
        "global
  nbthread 1
  maxconn {connections_max}
defaults
  mode http
  timeout connect 1s
  timeout client 600s
  timeout http-request 10s
  timeout http-keep-alive 600s
  timeout server {timeout_s}s
  option forwardfor
  http-reuse always
frontend public
  bind 127.0.0.1:{port}{proto}
  default_backend shop
backend shop
  balance roundrobin
  server stable 127.0.0.1:{stable} weight {of_stable}
  server canary 127.0.0.1:{canary} weight {of_canary}
"
    )
}

/// The file for Envoy.
pub(crate) fn envoy(site: &Site) -> String {
    let Site {
        port,
        backends: [stable, canary],
        weights: [of_stable, of_canary],
        timeout_s,
        ..
    } = site;
    let codec = match site.protocol {
        Protocol::H1 => "HTTP1",
        Protocol::H2 => "HTTP2",
    };
    let transport = site.certificate.as_ref().map_or_else(String::new, |certificate| {
        let (chain, key) = (certificate.chain.display(), certificate.key.display());
        format!(
            "
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [{}]
            tls_params: {{ tls_minimum_protocol_version: TLSv1_3 }}
            tls_certificates:
            - {{ certificate_chain: {{ filename: '{chain}' }}, private_key: {{ filename: '{key}' }} }}",
            site.protocol.alpn()
        )
    });
    let cluster = |name: &str, port: u16| {
        format!(
            "  - name: {name}
    type: STATIC
    connect_timeout: 1s
    circuit_breakers:
      thresholds:
      - {{ max_connections: 100000, max_pending_requests: 100000, max_requests: 100000, max_retries: 100 }}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}
"
        )
    };
    let clusters = cluster("stable", *stable) + &cluster("canary", *canary);
    format!(
        "static_resources:
  listeners:
  - name: public
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: public
          codec_type: {codec}
          use_remote_address: true
          route_config:
            virtual_hosts:
            - name: shop
              domains: [\"*\"]
              routes:
              - match: {{ prefix: / }}
                route:
                  timeout: {timeout_s}s
                  weighted_clusters:
                    clusters:
                    - {{ name: stable, weight: {of_stable} }}
                    - {{ name: canary, weight: {of_canary} }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router{transport}
  clusters:
{clusters}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(protocol: Protocol) -> Site {
        let (backends, weights) = ([9001, 9002], [90, 10]);
        Site {
            protocol,
            certificate: None,
            port: 8001,
            admin_port: 8002,
            backends,
            weights,
            connections_max: 2000,
            timeout_s: 5,
            features: Features::Plain,
        }
    }

    #[test]
    fn serins_file_loads_with_any_features() {
        for features in [Features::Plain, Features::Judged, Features::All] {
            let site = Site {
                features,
                ..site(Protocol::H1)
            };
            let text = serin(&site, Path::new("/d"));
            let spec = serin::config::load(&text, Path::new("serin.yaml"), &|_| None).expect("it loads");
            assert_eq!(spec.rollouts.is_empty(), features == Features::Plain, "{text}");
            assert_eq!(spec.outcome_log.is_some(), features == Features::All, "{text}");
        }
    }

    #[test]
    fn each_file_names_the_port_and_both_backends() {
        for protocol in [Protocol::H1, Protocol::H2] {
            let (site, directory) = (site(protocol), Path::new("/d"));
            for text in [
                serin(&site, directory),
                nginx(&site, directory),
                haproxy(&site),
                envoy(&site),
            ] {
                for part in ["8001", "9001", "9002"] {
                    assert!(text.contains(part), "{part} is missing in:\n{text}");
                }
            }
        }
    }

    #[test]
    fn nginx_splits_by_the_canarys_percentage() {
        assert!(nginx(&site(Protocol::H1), Path::new("/d")).contains("{ 10% canary; * stable; }"));
    }
}
