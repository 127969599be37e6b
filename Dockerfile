# The host. docker-compose.yml puts a PostgreSQL and a collector beside it.
FROM mcr.microsoft.com/dotnet/sdk:10.0 AS build
WORKDIR /src
COPY . .
RUN dotnet publish src/Cowork.Web -c Release -o /app \
    && dotnet publish src/Cowork.Cli -c Release -o /app

FROM mcr.microsoft.com/dotnet/aspnet:10.0
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
