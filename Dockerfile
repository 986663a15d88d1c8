# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
#
# The same images as `make images`, for those who have a container engine:
#   docker build --target selvage-controller --tag localhost/selvage-controller:dev --build-arg VERSION=$(git describe --tags --always --dirty) .
#   docker build --target selvage-agent      --tag localhost/selvage-agent:dev      --build-arg VERSION=$(git describe --tags --always --dirty) .
# A test compares it with hack/images: what is copied, and how it is started.
ARG GO_IMAGE=golang:1.26
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY controllers controllers
COPY node-agent node-agent
COPY cmd cmd
ARG TARGETARCH
ARG VERSION=dev
RUN CGO_ENABLED=0 GOOS=linux GOARCH=${TARGETARCH} GOAMD64=v1 GOARM64=v8.0 \
    go build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/ \
    ./cmd/selvage ./cmd/selvage-agent ./cmd/selvage-controller

FROM scratch AS selvage-controller
COPY --from=build /out/selvage-controller /selvage-controller
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/selvage-controller"]

FROM scratch AS selvage-agent
COPY --from=build /out/selvage-agent /selvage-agent
COPY --from=build /out/selvage /selvage
USER 0:0
WORKDIR /
ENTRYPOINT ["/selvage-agent"]
