using System.Diagnostics;

using Cowork.Web;

namespace Cowork.Clients.Tests;

/// <summary>
/// A server of S3, s3rver of npm, with one bucket. It knows who signs a request and does not compute the signature, which is the SDK's own work.
/// </summary>
public sealed class S3Server : IAsyncLifetime
{
    /// <summary>S3 decodes the whole name of what is copied; this server leaves the slashes, which the SDK writes as %2F.</summary>
    const string Program = """
        globalThis.decodeURI = decodeURIComponent;
        const S3rver = require("s3rver");
        new S3rver({ port: 0, address: "127.0.0.1", silent: true, directory: process.argv[1], configureBuckets: [{ name: "cowork" }] }).run()
            .then(address => console.log(address.port));
        """;

    readonly string folder = Directory.CreateTempSubdirectory("cowork-s3-").FullName;
    Process? server;

    public Uri Endpoint { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        var start = new ProcessStartInfo("node", ["-e", Program, folder]) { RedirectStandardOutput = true };
        start.Environment["NODE_PATH"] = await Generators.Modules();
        // The SDK that the server uses for itself says at length that it is old.
        start.Environment["NODE_NO_WARNINGS"] = "1";
        server = Process.Start(start)!;
        Endpoint = new($"http://127.0.0.1:{await server.StandardOutput.ReadLineAsync()}");
    }

    /// <summary>Where blobs lie in the bucket.</summary>
    public S3Settings Settings(string prefix) => new("cowork", Endpoint, null, "S3RVER", "S3RVER", PathStyle: true, prefix);

    /// <summary>Names of the objects below a prefix.</summary>
    public string[] Objects(string prefix) =>
    [
        .. Directory.EnumerateFiles(Path.Combine(folder, "cowork"), "*._S3rver_object", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(Path.Combine(folder, "cowork"), path)[..^"._S3rver_object".Length])
            .Where(name => name.StartsWith(prefix, StringComparison.Ordinal)).Select(name => name[prefix.Length..]).Order(StringComparer.Ordinal),
    ];

    public async ValueTask DisposeAsync()
    {
        if (server is not null)
        {
            server.Kill();
            await server.WaitForExitAsync();
            server.Dispose();
        }
        Directory.Delete(folder, recursive: true);
    }
}
