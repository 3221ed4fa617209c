# The operator's image: one binary on a distroless base, no shell, no root.
#
# Pin both bases by digest for a release: --build-arg BUILD=rust:...@sha256:... --build-arg BASE=...@sha256:...
ARG BUILD=docker.io/library/rust:1.95-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD} AS build
WORKDIR /source
# The crypto library is compiled from C.
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --locked --release -p rollforward

FROM ${BASE}
COPY --from=build /source/target/release/rollforward /rollforward
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/rollforward"]
CMD ["run"]
