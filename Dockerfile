# Sluice in one image: `sluice up` (everything), or one part (`edge 1`, `logplex`, `control`, `host`).
#
#   docker build -t sluice .
#   docker run --privileged --init -v sluice:/var/lib/sluice -p 8080:8080 -p 5000:5000 sluice
#
# The target `stack` is the file system that dynos see, for a runtime on Docker to come: docker build --target stack -t sluice-stack .
# BASE is any Debian 12 or 13; packages that it holds already are not fetched again.
ARG BASE=debian:13

FROM ${BASE} AS stack
COPY bin/image-packages.sh /usr/local/libexec/image-packages
RUN /usr/local/libexec/image-packages bash ca-certificates curl git openssl python3 python3-venv tar unzip xz-utils
WORKDIR /app
ENV HOME=/app

FROM stack AS node
WORKDIR /opt/sluice
ENV HOME=/root
RUN /usr/local/libexec/image-packages nodejs npm

FROM node AS build
COPY package.json package-lock.json .npmrc ./
COPY bin bin
# The packages alone first: they change less often than the sources.
RUN node bin/setup.js --packages && rm -rf dist /root/.npm
COPY . .
RUN node bin/setup.js && npm prune --omit=dev --no-audit --no-fund && rm -rf dist/test dist/bench dist/.tsbuildinfo /root/.npm

FROM node AS sluice
RUN /usr/local/libexec/image-packages iproute2 iptables mount passwd procps tini util-linux
COPY --from=build /opt/sluice /opt/sluice
ENV SLUICE_HOME=/var/lib/sluice SLUICE_EDGE_HOST=0.0.0.0 SLUICE_API_HOST=0.0.0.0 NODE_ENV=production
VOLUME /var/lib/sluice
EXPOSE 8080 8443 5000 5443 5444 6515
# A first process that collects what ended dynos leave behind, which Node.js does not.
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/sluice/bin/sluice"]
CMD ["up"]
HEALTHCHECK --interval=10s CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.SLUICE_API_PORT || 5000) + '/health').then((a) => process.exit(a.ok ? 0 : 1), () => process.exit(1))"]
