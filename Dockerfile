# Serin as an image: one binary, no shell, no root, and nothing written but the state directory.
#
#   docker build -t serin .
#   docker run --read-only -v "$PWD/serin.yaml:/etc/serin/serin.yaml:ro" -v serin-state:/var/lib/serin -p 8080:8080 serin
#
# In the file, listen on 0.0.0.0:8080 and say `state: { directory: /var/lib/serin }`. The admin API stays on the
# container's loopback: `docker exec CONTAINER serin status` reaches it, and so do containers of the same pod.

FROM rust:1.95-bookworm AS build
WORKDIR /build

# The dependencies alone, against empty sources: this layer stays as long as no manifest changes. Cargo wants the
# declared benches to exist, and every member of the workspace.
COPY Cargo.toml Cargo.lock ./
COPY loadtest/Cargo.toml loadtest/Cargo.toml
COPY benches benches
RUN mkdir -p src loadtest/src \
 && echo 'fn main() {}' > src/main.rs \
 && echo 'fn main() {}' > loadtest/src/main.rs \
 && touch src/lib.rs \
 && cargo build --release --locked --package serin --bin serin

# The real sources. They may be older than the build above, and cargo goes by time: hence the touch.
COPY src src
COPY config config
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --package serin --bin serin \
 && mkdir -p /image/usr/local/bin /image/var/lib/serin \
 && cp target/release/serin /image/usr/local/bin/serin

# glibc, libgcc and certificates of authorities; user 65532 is its `nonroot`.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/usr/local/bin/serin /usr/local/bin/serin
COPY --from=build --chown=65532:65532 /image/var/lib/serin /var/lib/serin
COPY LICENSE /usr/share/doc/serin/LICENSE

# A number, so that Kubernetes can verify `runAsNonRoot`.
USER 65532:65532
WORKDIR /var/lib/serin
VOLUME ["/var/lib/serin"]
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/serin"]
CMD ["run", "-c", "/etc/serin/serin.yaml"]
