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
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/26866 && printf 'GET /health/ready HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["dotnet", "/app/Cowork.Web.dll"]
