using System.Text;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>Any web service: requests below a base URL, through the fence.</summary>
public sealed class HttpConnector : IConnector, IDisposable
{
    const string BaseField = "base_url";

    /// <summary>Documents of large services have some megabytes.</summary>
    const int OpenApiBytesMax = 16 << 20;

    readonly TimeProvider clock;
    readonly HttpMessageInvoker http;
    readonly WebSource source;

    public HttpConnector(EgressFence fence, TimeProvider clock)
    {
        this.clock = clock;
        http = new(fence.NewHandler(ConnectorLimits.ProbeTime));
        source = new(http);
    }

    public ConnectorSpec Spec { get; } = new(
        "http", "HTTP API", "Any web service: requests below a base URL. GET and HEAD read; other methods need an approval.", ConnectorAuth.Credentials,
        [
            new(BaseField, "Base URL"),
            new("headers", "Headers, one \"Name: value\" a line", IsSecret: true, IsRequired: false),
            new("bearer", "Bearer token", IsSecret: true, IsRequired: false),
            new("user", "User", IsRequired: false),
            new("password", "Password", IsSecret: true, IsRequired: false),
            new("openapi_url", "OpenAPI document (JSON): path below the base URL, or an address", IsRequired: false),
        ]);

    public IEnumerable<FieldFault> Check(ConnectionSettings settings)
    {
        if (BaseUrl.Parse(settings[BaseField], out var fault) is not { } at)
        {
            yield return new(BaseField, fault!);
        }
        else if (settings["openapi_url"] is { Length: > 0 } document && Document(at, document) is null)
        {
            yield return new("openapi_url", "Must be a path below the base URL, or an address that begins with https:// or http://.");
        }
        if (settings["headers"] is { } text)
        {
            var headers = HttpHeaders.Lines(text, out fault);
            fault ??= headers!.Any(header => HttpCall.IsOthers(header.Key, "authorization", "cookie", "user-agent")) ? "Names a header that is not a connection's to set." : null;
            if (fault is not null)
            {
                yield return new("headers", fault);
            }
        }
        if (settings["bearer"] is { } bearer && (bearer.Length == 0 || HttpHeaders.FaultOf("authorization", bearer) is not null || bearer.Contains(' ', StringComparison.Ordinal)))
        {
            yield return new("bearer", "Must be a token, without \"Bearer\" and blanks.");
        }
        if (settings["bearer"] is not null && settings["user"] is not null)
        {
            yield return new("user", "Give a bearer token, or a user with a password.");
        }
        if (settings["user"] is null != settings["password"] is null)
        {
            yield return new(settings["user"] is null ? "user" : "password", "A user and a password go together.");
        }
        if (settings["user"]?.Contains(':', StringComparison.Ordinal) == true)
        {
            yield return new("user", "Must have no colon (RFC 7617).");
        }
    }

    public async ValueTask<Probe> Probe(ConnectionSettings settings, CancellationToken ct)
    {
        var target = Target(settings);
        using var time = new CancellationTokenSource(ConnectorLimits.ProbeTime, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(ct, time.Token);
        try
        {
            return await source.Status(target, linked.Token) switch
            {
                401 or 403 or 407 => Application.Probe.Failed($"{target.Base.Host} refuses the credentials."),
                var status and >= 500 => Application.Probe.Failed($"{target.Base.Host} answers {status}."),
                // Many services have nothing at their base.
                _ => Application.Probe.Connected,
            };
        }
        catch (Exception e) when (PlainReason.IsKnown(e) && !ct.IsCancellationRequested)
        {
            return Application.Probe.Failed(PlainReason.Of(e, target.Base.Host));
        }
    }

    public ValueTask<ConnectorEffect> Judge(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct) => ValueTask.FromResult(Judge(request));

    /// <summary>A text that is no request is a read: it is answered and never sent.</summary>
    internal static ConnectorEffect Judge(ConnectorRequest request, Func<HttpCall, bool>? isRead = null) =>
        request is ConnectorRequest.Write || (request is ConnectorRequest.Query query && HttpCall.Read(query.Text, out _) is { } call && !(isRead?.Invoke(call) ?? call.IsRead))
            ? ConnectorEffect.Write
            : ConnectorEffect.Read;

    public async ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct)
    {
        using var time = new CancellationTokenSource(ConnectorLimits.AskTime, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(ct, time.Token);
        var answer = request is ConnectorRequest.Schema ? await Schema(Target(settings), settings["openapi_url"], linked.Token)
            : WebRequest.Of(request, null, out var fault) is { } asked ? (await source.Ask(Target(settings), asked, linked.Token)).Answer
            : new ConnectorAnswer.Failed(fault!);
        ct.ThrowIfCancellationRequested();
        return answer;
    }

    public void Dispose() => http.Dispose();

    async ValueTask<ConnectorAnswer> Schema(WebTarget target, string? document, CancellationToken ct)
    {
        if (document is null or "")
        {
            return new ConnectorAnswer.Text(
                $"A web service at {target.Base.Address}, which has told nothing of its operations. {HttpCall.Usage} Paths count from the base URL. GET and HEAD read.");
        }
        var address = Document(target.Base, document)!;
        try
        {
            // Elsewhere it is a document like any other, and no business of the connection's credentials.
            var (status, body) = await source.Fetch(address, target.Base.Contains(address) ? target.Headers : [], OpenApiBytesMax, ct);
            return status != 200 ? new ConnectorAnswer.Failed($"{address.Authority} answers {status} instead of the OpenAPI document.", IsUnreachable: true)
                : !body.IsCut && body.Text is { } text && OpenApiSummary.Of(text) is { } table ? table
                : new ConnectorAnswer.Failed($"What {address.Authority} answers is no OpenAPI document in JSON of at most {OpenApiBytesMax >> 20} MiB.", IsUnreachable: true);
        }
        catch (Exception e) when (PlainReason.IsKnown(e))
        {
            return new ConnectorAnswer.Failed(PlainReason.Of(e, address.Authority), IsUnreachable: true);
        }
    }

    static Uri? Document(BaseUrl at, string document) =>
        at.Below(document, out _)
        ?? (Uri.TryCreate(document, UriKind.Absolute, out var address) && address.Scheme is "http" or "https" && address.UserInfo.Length == 0 ? address : null);

    static WebTarget Target(ConnectionSettings settings)
    {
        var headers = HttpHeaders.Lines(settings["headers"] ?? "", out _)!.ToList();
        if (settings["bearer"] is { } bearer)
        {
            headers.Add(new("Authorization", $"Bearer {bearer}"));
        }
        else if (settings["user"] is { } user)
        {
            headers.Add(new("Authorization", $"Basic {Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{settings["password"]}"))}"));
        }
        return new(BaseUrl.Parse(settings[BaseField], out _)!, headers);
    }
}
