# The host. docker-compose.yml puts a PostgreSQL and a collector beside it.
# A release is built by deploy/images, which names both images by digest.
ARG SDK_IMAGE=mcr.microsoft.com/dotnet/sdk:10.0
ARG ASPNET_IMAGE=mcr.microsoft.com/dotnet/aspnet:10.0

FROM ${SDK_IMAGE} AS build
WORKDIR /src
COPY . .
# CI: the lock files decide which packages come in; the bills of materials tell which did.
ENV CI=true
RUN dotnet publish src/Cowork.Web -c Release -o /app \
    && dotnet publish src/Cowork.Cli -c Release -o /app \
    && ./cowork sbom /app/sbom

FROM ${ASPNET_IMAGE}
# What cells run with. The container needs leave to make namespaces, or refuses cells: docs/kernels.md.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        bubblewrap python3-ipykernel python3-jupyter-client python3-matplotlib python3-nbformat python3-pandas \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /app /app
# What hosts share is mounted below /data; the rest of it is one host's own. A new volume takes its owner from here.
RUN mkdir -p /data/blobs /data/workspaces && chown -R "$APP_UID:$APP_UID" /data && chmod 700 /data
ENV Cowork__Bind=* \
    Cowork__Data=/data
USER $APP_UID
VOLUME /data
EXPOSE 26866
# Over HTTP or TLS, as the host speaks.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["dotnet", "/app/cowork.dll", "health", "--data", "/data"]
ENTRYPOINT ["dotnet", "/app/Cowork.Web.dll"]
