# Roost as an image: one binary, the rights of nobody, no shell needed to run it or to ask how it is.
#
#   docker build --tag roost:local .
#   docker run --publish 4000:4000 --volume roost-data:/var/lib/roost/data roost:local
#
# That is one instance with an SQLite file; docker-compose.yml starts three with all they need.
# `cargo xtask containers` lints this file; it builds nothing.

# The browser bundles that the server embeds: the same files as `cargo xtask assets` makes.
FROM node:24.21.0-bookworm-slim AS page
WORKDIR /page
COPY server/page/package.json server/page/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund --loglevel=error \
    && mkdir vendor \
    && for bundle in \
        socket.io-client/dist/socket.io.min.js \
        graphiql/graphiql.min.js \
        graphiql/graphiql.min.css \
        graphql-ws/umd/graphql-ws.min.js \
        react/umd/react.production.min.js \
        react-dom/umd/react-dom.production.min.js; \
    do cp "node_modules/$bundle" vendor/ || exit 1; done \
    && for license in \
        socket.io-client/LICENSE \
        graphiql/LICENSE \
        graphql-ws/LICENSE.md \
        react/LICENSE \
        react-dom/LICENSE; \
    do printf '%s\n\n' "${license%%/*}" && cat "node_modules/$license" && printf '\n\n' || exit 1; done > vendor/LICENSES.txt

# The version of rust-toolchain.toml. That file stays outside: it asks for lints and a formatter, which rustup would fetch.
FROM rust:1.95.0-slim-bookworm AS builder
WORKDIR /build
# First what others wrote, with nothing of ours in it: a layer that is kept until a manifest changes.
COPY Cargo.toml Cargo.lock ./
COPY schema/Cargo.toml schema/
COPY migrations/Cargo.toml migrations/
COPY server/Cargo.toml server/
COPY client/Cargo.toml client/
COPY testbed/Cargo.toml testbed/
COPY proof/Cargo.toml proof/
COPY loadtest/Cargo.toml loadtest/
COPY loadtest/peers/rust/Cargo.toml loadtest/peers/rust/
COPY xtask/Cargo.toml xtask/
RUN for crate in schema migrations server client testbed proof loadtest loadtest/peers/rust xtask; \
    do mkdir "$crate/src" && touch "$crate/src/lib.rs" || exit 1; done \
    && mkdir server/benches loadtest/benches && touch server/benches/journal.rs loadtest/benches/frames.rs \
    && echo 'fn main() {}' > server/src/main.rs \
    && cargo build --release --locked --package roost-server
# Then ours. Those that are not built stay empty.
COPY schema schema
COPY migrations migrations
COPY server server
COPY --from=page /page/vendor server/page/vendor
# Copied files are as old as in the checkout: cargo would hold what it built above for newer.
RUN touch schema/src/lib.rs migrations/src/lib.rs server/build.rs server/src/lib.rs server/src/main.rs \
    && cargo build --release --locked --package roost-server

# The C library that the builder linked against.
FROM debian:12.12-slim
LABEL org.opencontainers.image.title="Roost" \
    org.opencontainers.image.description="A self-hosted realtime collaboration backend"
# For databases that are reached by TLS.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=builder /build/target/release/roost /usr/local/bin/roost
# A number, so that an orchestrator can see that it is not root. The folder is for an SQLite file, if one is used.
RUN install --directory --owner=10001 --group=10001 /var/lib/roost /var/lib/roost/data
WORKDIR /var/lib/roost
USER 10001:10001
# In a container loopback is reached by nobody else: which ports are published decides who may connect.
ENV ROOST_LISTEN=0.0.0.0:4000 \
    ROOST_METRICS_LISTEN=0.0.0.0:9464 \
    ROOST_LOG_FORMAT=json
EXPOSE 4000 9464
STOPSIGNAL SIGTERM
# The start may take as long as another instance migrates the database.
HEALTHCHECK --interval=10s --timeout=3s --start-period=2m --retries=3 CMD ["roost", "health"]
ENTRYPOINT ["roost"]
CMD ["serve"]
