# One image for every role: the command alone, on nothing. `tokenstorm:0.1.0` is what k8s/ and charts/ name.
#
#   docker build -t tokenstorm:0.1.0 .
#
# The command is linked to musl whole, so it needs no files of a distribution; names are resolved by musl itself, which reads
# /etc/resolv.conf and /etc/hosts. (A static glibc would look for its own shared libraries to resolve a name.)
FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates musl-tools \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# Of this machine's own kind of processor, whichever that is.
RUN target="$(uname -m)-unknown-linux-musl" \
    && rustup target add "$target" \
    && cargo build --release --locked --target "$target" --bin tokenstorm \
    && install -D "target/$target/release/tokenstorm" /image/tokenstorm \
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && install -D -m 0644 LICENSE /image/LICENSE \
    && install -d -m 1777 /image/results /image/fleet /image/cache

FROM scratch
COPY --from=build /image /
USER 65532:65532
# Where nothing is mounted: `results/` of any verb is /results.
WORKDIR /
ENTRYPOINT ["/tokenstorm"]
