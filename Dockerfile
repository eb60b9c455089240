# Two images from one build: `docker build --target node .` and `docker build --target balancer .`
#
# Each has one program, its shared libraries, `sleep`, and the CA certificates. The image has no shell, no
# package manager, and no user but 65532. Nothing is written at run time, so the root file system may be
# read-only.
#
# Any builder works: there is no `# syntax` line that fetches a frontend, and no `RUN --mount`.

FROM rust:1.95-bookworm AS base
WORKDIR /sociable

# The inputs of the dependencies: the manifests, and an empty program in place of every file that they name.
# Other changes leave this stage the same, so the next one comes from the cache.
FROM base AS manifests
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock \
        ! -regex '.*/\(src/lib\|src/main\|src/bin/[^/]*\|src/bin/[^/]*/main\|benches/[^/]*\)\.rs' -exec rm {} + \
    && find . -name '*.rs' -exec sh -c 'for file; do echo "fn main() { }" > "$file"; done' sh {} + \
    && find . -type d -empty -delete

FROM base AS build
COPY --from=manifests /sociable .
RUN cargo build --release --locked --package sociable-node --features sociable-node/otel --package sociable-balancer
COPY . .
# The files are older than what was made of the empty ones, and cargo goes by that.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package sociable-node --features sociable-node/otel --package sociable-balancer \
    && mkdir /programs && mv target/release/sociable-node target/release/sociable-balancer /programs/

# The root file systems: a program with the libraries that `ldd` lists, at their paths, and `sleep`.
# Kubernetes delays the stop of a container by it.
FROM base AS roots
COPY --from=build /programs /programs
RUN for program in node balancer; do \
        root="/roots/$program"; \
        mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" \
        && cp "/programs/sociable-$program" "$root/usr/local/bin/" \
        && strip "$root/usr/local/bin/sociable-$program" \
        && ldd "$root/usr/local/bin/sociable-$program" | grep -o '/[^ ]*' | xargs -I{} cp --parents --dereference {} "$root" \
        && cp --parents --dereference /usr/bin/sleep "$root" \
        && cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" \
        && echo 'sociable:x:65532:65532::/:/nonexistent' > "$root/etc/passwd" \
        && echo 'sociable:x:65532:' > "$root/etc/group" \
        || exit 1; \
    done

FROM scratch AS balancer
COPY --from=roots /roots/balancer /
USER 65532:65532
ENV SOCIABLE_BALANCER_LISTEN=0.0.0.0:8080 SOCIABLE_BALANCER_ADMIN_ADDR=0.0.0.0:8081
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["/usr/local/bin/sociable-balancer", "--probe"]
ENTRYPOINT ["/usr/local/bin/sociable-balancer"]

FROM scratch AS node
COPY --from=roots /roots/node /
USER 65532:65532
ENV SOCIABLE_HOST=0.0.0.0 SOCIABLE_PORT=3000 SOCIABLE_ADMIN_ADDR=0.0.0.0:3001
EXPOSE 3000 3001
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["/usr/local/bin/sociable-node", "--probe"]
ENTRYPOINT ["/usr/local/bin/sociable-node"]
