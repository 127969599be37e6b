using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>
/// Serves the console below /console/. Files have addresses that begin with <c>/console/-/</c>; every other one below it is a page of the console, and all pages are one
/// document, which finds out what it shows from its address.
/// </summary>
public sealed class ConsoleServer(RequestDelegate next, ConsoleAssets assets, IServiceProvider services)
{
    public const string Root = "/console";

    public const string ConfigPath = Root + "/config.json";

    /// <summary>Begins the addresses of files: <c>-/VERSION/PATH</c>.</summary>
    const string FilesPrefix = "/-/";

    /// <summary>Folders that a page's address may lie below /console/.</summary>
    const int DepthMax = 16;

    public Task InvokeAsync(HttpContext http)
    {
        var path = http.Request.Path.Value!;
        var isOurs = path.StartsWith(Root, StringComparison.Ordinal) && (path.Length == Root.Length || path[Root.Length] == '/') && path != ConfigPath;
        return isOurs ? Serve(http, path[Root.Length..]) : next(http);
    }

    Task Serve(HttpContext http, string path)
    {
        var response = http.Response;
        if (!HttpMethods.IsGet(http.Request.Method))
        {
            response.StatusCode = 405;
            response.Headers.Allow = "GET";
            return Task.CompletedTask;
        }
        if (path.Length == 0)
        {
            // Relative, because a proxy may have taken away the beginning of the path.
            response.StatusCode = 308;
            response.Headers.Location = "console/" + http.Request.QueryString;
            return Task.CompletedTask;
        }
        if (path.StartsWith(FilesPrefix, StringComparison.Ordinal))
        {
            var parts = path[FilesPrefix.Length..].Split('/', 2);
            return parts.Length == 2 && assets.Find(parts[1]) is { } file
                // A file of another version is that of this one: while hosts are replaced one by one, some have the one and some the other.
                ? Send(
                    http, file, parts[1] == ConsoleAssets.Preview ? PreviewPolicy(file) : Policy(),
                    assets.AreKept && parts[0] == assets.Version ? "public, max-age=31536000, immutable" : "no-cache")
                : NotFound(http);
        }
        // A first segment with a dot is the name of a file that is not there.
        var depth = path.Count(c => c == '/') - 1;
        return path[1..].Split('/')[0].Contains('.', StringComparison.Ordinal) || depth > DepthMax
            ? NotFound(http)
            : Send(http, assets.DocumentAt(depth), Policy(), "no-cache");
    }

    static Task NotFound(HttpContext http) => ErrorResult.NotFound("page").ExecuteAsync(http);

    static async Task Send(HttpContext http, ConsoleFile file, string policy, string cache)
    {
        var (response, headers) = (http.Response, http.Response.Headers);
        var (encoding, bytes) = file.For(http.Request.Headers.AcceptEncoding.ToString());
        headers.ContentSecurityPolicy = policy;
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";
        headers["Referrer-Policy"] = "no-referrer";
        headers.CacheControl = cache;
        headers.Append("Vary", "Accept-Encoding");
        var tag = $"\"{file.Digest[..32]}{(encoding is null ? "" : "-" + encoding)}\"";
        headers.ETag = tag;
        if (http.Request.Headers.IfNoneMatch.ToString().Split(',', StringSplitOptions.TrimEntries).Any(sent => sent == "*" || sent == tag || sent == "W/" + tag))
        {
            response.StatusCode = 304;
            return;
        }
        headers.ContentEncoding = encoding;
        response.ContentType = file.MediaType;
        response.ContentLength = bytes.Length;
        await response.Body.WriteAsync(bytes, http.RequestAborted);
    }

    /// <summary>
    /// Everything comes from this host, and a script of somebody else has no way in: none stands in a page, none is made of a text. Only the addresses of workers are
    /// made, by a policy of that name.
    /// </summary>
    string Policy() =>
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' blob: data:; worker-src 'self'; frame-src 'self'; "
        + $"connect-src 'self'{Authority()}; base-uri 'self'; form-action 'none'; frame-ancestors 'none'; "
        + "require-trusted-types-for 'script'; trusted-types cowork-worker";

    /// <summary>
    /// Of the frame in which pages that agents wrote are shown. A frame of its own has an origin of its own, in which one script, this file's, puts the page into a further
    /// frame that runs no scripts; both load nothing, and what the page brings with it, styles and pictures, is all that there is.
    /// </summary>
    static string PreviewPolicy(ConsoleFile file) =>
        $"sandbox allow-scripts; default-src 'none'; script-src 'sha256-{file.ScriptDigest()}'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
        + "base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

    /// <summary>Where a page asks for a token, when the authority's people sign in.</summary>
    string Authority() => services.GetService<AuthorityKeys>()?.SignIn is { } there ? " " + there.TokenEndpoint.GetLeftPart(UriPartial.Authority) : "";
}
