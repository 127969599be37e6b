using System.Security.Cryptography;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary>
/// <c>cowork app-key create|list|revoke</c>: keys that apps sign their requests with. <c>create</c> makes a pair, writes the private half into a file of its owner's, and
/// registers the public one; while hosts run, all of them hear of it with the next request.
/// </summary>
static class AppKeyCommands
{
    const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    static readonly Origin By = new("system");

    public static async Task<int> Run(string[] options)
    {
        if (options is not [("create" or "list" or "revoke") and var command, .. var rest])
        {
            return Usage.Wrong("app-key has the commands create, list and revoke");
        }
        string[] own = command switch
        {
            "create" => ["--app", "--out"],
            "list" => [],
            _ => ["--kid"],
        };
        if (TenantOptions.Read($"app-key {command}", own, rest) is not var (org, data, given))
        {
            return Usage.Error;
        }
        switch (command)
        {
            case "create":
                if (given.GetValueOrDefault("--app") is not { } app || !AppKey.IsName(app))
                {
                    return Usage.Wrong($"app-key create needs --app, a name of 1 to {AppKey.NameCharsMax} letters, digits, dots, underscores and hyphens");
                }
                var file = Path.GetFullPath(given.GetValueOrDefault("--out", $"{app}.pem"));
                return await Tables.Open(data, engine => Create(Handler(engine), new(app, org), file));
            case "list":
                return await Tables.Open(data, engine => List(engine, org));
            default:
                return given.GetValueOrDefault("--kid") is { } kid
                    ? await Tables.Open(data, engine => Revoke(Handler(engine), org, kid))
                    : Usage.Wrong("app-key revoke needs --kid, as app-key list shows it");
        }
    }

    static CommandHandler Handler(StorageEngine engine) => new(engine.Log, engine.Snapshots, new NoBlobs(), ReadModels.All, TimeProvider.System, CronTimes.Next);

    static async Task<int> Create(CommandHandler handler, AppId app, string file)
    {
        using var pair = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var key = Jws.PublicOf(pair);
        var kid = Jws.Thumbprint(key);
        try
        {
            // First the file: a key that only the log knows signs nothing. An existing file may be the only copy of another key.
            using var written = new FileStream(file, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = OwnerOnly });
            written.Write(System.Text.Encoding.ASCII.GetBytes(pair.ExportPkcs8PrivateKeyPem() + "\n"));
            written.Flush(flushToDisk: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"cowork: the private key cannot be written: {e.Message} Nothing was registered.");
            return 1;
        }
        if ((await handler.Execute(app.Org, By, new RegisterAppKey(app.Name, kid, key), CancellationToken.None)).Refused is { } refused)
        {
            Console.Error.WriteLine($"cowork: {refused.Detail}");
            return 1;
        }
        Console.WriteLine($"app_id: {app}");
        Console.WriteLine($"kid: {kid}");
        Console.WriteLine($"private key: {file}");
        return 0;
    }

    static async Task<int> List(StorageEngine engine, string org)
    {
        foreach (var row in await engine.Rows.List(org, AppKeys.Model.Table, new RowQuery(), CancellationToken.None))
        {
            var key = AppKeys.Model.Read(row.Json.Span);
            Console.WriteLine($"{new AppId(key.App, org)} {key.Kid} since {key.RegisteredAt:yyyy-MM-ddTHH:mm:ssZ} by {key.RegisteredBy}");
        }
        return 0;
    }

    static async Task<int> Revoke(CommandHandler handler, string org, string kid)
    {
        if ((await handler.Execute(org, By, new RevokeAppKey(kid), CancellationToken.None)).Refused is not null)
        {
            Console.Error.WriteLine($"cowork: no app of {org} has a key {kid} that works.");
            return 1;
        }
        Console.WriteLine($"No host believes the key {kid} any more.");
        return 0;
    }
}
