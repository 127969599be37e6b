using System.Net;
using System.Net.Http.Headers;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;

using Cowork.Web;

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Cowork.Testing.Hosts;

/// <summary>A real host in this process, over HTTP on a free port, with a database and a data directory of its own.</summary>
public sealed class LiveHost : IAsyncDisposable
{
    readonly Func<HostSettings, CoworkHost> start;
    readonly HostSettings settings;
    readonly string data;
    CoworkHost host;
    bool isAway;

    LiveHost(Func<HostSettings, CoworkHost> start, HostSettings settings, string data, string database)
    {
        (this.start, this.settings) = (start, settings);
        host = start(settings);
        this.data = data;
        Database = database;
        Http = Client();
    }

    public string Url => host.Url;

    public string Data => data;

    /// <summary>Connection string of its database.</summary>
    public string Database { get; }

    public IServiceProvider Services => host.Services;

    /// <summary>Calls without a token.</summary>
    public HttpClient Http { get; }

    /// <summary>The operator's token.</summary>
    public string AdminToken => File.ReadAllText(Path.Combine(data, "admin-token")).Trim();

    /// <param name="log">Changes what the host logs, and where; null: errors, to its console.</param>
    public static Task<LiveHost> Start(Func<HostSettings, HostSettings>? change = null, Action<ILoggingBuilder>? log = null) =>
        Start(settings => Task.FromResult(change?.Invoke(settings) ?? settings), log);

    /// <param name="prepare">Puts into database and data directory what the host is to find there.</param>
    public static async Task<LiveHost> Start(Func<HostSettings, Task<HostSettings>> prepare, Action<ILoggingBuilder>? log = null)
    {
        var data = TestPostgres.NewDirectory();
        var settings = new HostSettings
        {
            Port = 0,
            Data = data,
            Database = await TestPostgres.NewDatabase(),
            ScheduleIntervalMin = TimeSpan.FromSeconds(1),
            SecurityFold = TimeSpan.FromHours(1),
            Limits = new() { FailuresPerMinute = int.MaxValue },
        };
        var prepared = await prepare(settings);
        var database = prepared.Database!;
        if (prepared.DatabaseOwner is null)
        {
            var (role, owner) = TestPostgres.Roles(database);
            prepared = prepared with { Database = role, DatabaseOwner = owner };
        }
        var live = new LiveHost(each => Begin(each, log), prepared, data, database);
        await live.host.FirstReady;
        return live;
    }

    /// <summary>Ends the host, and starts another one at the same address on what it leaves.</summary>
    public async Task Restart()
    {
        var port = new Uri(host.Url).Port;
        isAway = true;
        await host.DisposeAsync();
        host = start(settings with { Port = port });
        isAway = false;
        await host.FirstReady;
    }

    static CoworkHost Begin(HostSettings settings, Action<ILoggingBuilder>? log)
    {
        var builder = CoworkHost.NewBuilder();
        builder.Services.AddLogging(logging => (log ?? (all => all.SetMinimumLevel(LogLevel.Error)))(logging));
        return CoworkHost.Start(builder, settings);
    }

    /// <param name="version">Of HTTP, and no other; null: 1.1.</param>
    /// <param name="handler">Null: one that takes any certificate.</param>
    public HttpClient Client(string? token = null, Version? version = null, SocketsHttpHandler? handler = null)
    {
        HttpMessageHandler inner = new DescribedAnswers(handler ?? AnyCertificate.Handler(256));
        var client = new HttpClient(version is null ? inner : new OneVersion(version, inner)) { BaseAddress = new(Url), Timeout = Patience.Limit };
        client.DefaultRequestHeaders.Authorization = token is null ? null : new AuthenticationHeaderValue("Bearer", token);
        return client;
    }

    /// <summary>A token of a tenant, with these roles.</summary>
    public async Task<string> Token(string org, params string[] roles)
    {
        using var admin = Client(AdminToken);
        var issued = await admin.Send(HttpMethod.Post, "/tokens", JsonSerializer.Serialize(new { name = "test", user = "ann", roles, org_id = org }));
        Assert.Equal(HttpStatusCode.Created, issued.Status);
        return issued.Json.GetProperty("token").GetString()!;
    }

    public async ValueTask DisposeAsync()
    {
        if (!isAway)
        {
            await host.DisposeAsync();
        }
        Http.Dispose();
        Directory.Delete(data, recursive: true);
    }
}

/// <summary>Sends every request in one version of HTTP; <see cref="HttpClient.DefaultRequestVersion"/> holds only for requests that the client itself makes.</summary>
sealed class OneVersion(Version version, HttpMessageHandler inner) : DelegatingHandler(inner)
{
    protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        (request.Version, request.VersionPolicy) = (version, HttpVersionPolicy.RequestVersionExact);
        return base.SendAsync(request, cancellationToken);
    }
}

/// <summary>Connects to hosts of specs whatever their certificate is; the specs about certificates look at it themselves.</summary>
public static class AnyCertificate
{
    public static SocketsHttpHandler Handler(int connectionsMax) => new()
    {
        UseProxy = false,
        MaxConnectionsPerServer = connectionsMax,
        SslOptions = new() { RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate is not null },
    };
}

/// <summary>An answer, whole.</summary>
public sealed record Got(HttpStatusCode Status, string Text, HttpResponseHeaders Headers, string? ContentType)
{
    public JsonElement Json => JsonElement.Parse(Text);

    /// <summary>Of the request.</summary>
    public string Path { get; init; } = "";

    public string? Code => ContentType == "application/problem+json" ? Json.GetProperty("code").GetString()
        : IsOfWorks && ContentType == "application/json" && !Json.GetProperty("ok").GetBoolean() ? Json.GetProperty("error").GetProperty("details").GetProperty("code").GetString()
        : null;

    /// <summary>The address is of contract E, which has errors of another form.</summary>
    bool IsOfWorks => Path == "/myworks" || Path.StartsWith("/myworks/", StringComparison.Ordinal) || Path.StartsWith("/myworks?", StringComparison.Ordinal);

    public string this[string member] => Json.GetProperty(member).ToString();

    /// <summary>A refusal as every refusal must be.</summary>
    public Got IsProblem(int status, string? code = null)
    {
        Assert.True((int)Status == status, $"{(int)Status}, wanted {status}: {Text}");
        if (IsOfWorks)
        {
            return IsEnvelope(status, code);
        }
        Assert.Equal("application/problem+json", ContentType);
        foreach (var member in (string[])["type", "title", "status", "detail", "code", "trace_id"])
        {
            Assert.True(Json.TryGetProperty(member, out _), $"A problem without {member}: {Text}");
        }
        Assert.Equal(status, Json.GetProperty("status").GetInt32());
        Assert.Equal(status == 422, Json.TryGetProperty("errors", out _));
        if (code is not null)
        {
            Assert.Equal(code, Code);
        }
        return this;
    }

    /// <summary>A refusal as every refusal of contract E must be.</summary>
    Got IsEnvelope(int status, string? code)
    {
        string[] codes = ["UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND", "VALIDATION_ERROR", "RATE_LIMITED", "INTERNAL", "CONFLICT", "PRECONDITION_FAILED", "PAYLOAD_TOO_LARGE"];
        Assert.Equal("application/json", ContentType);
        Assert.Equal(["contract_version", "error", "message", "ok"], Json.EnumerateObject().Select(m => m.Name).Order());
        var error = Json.GetProperty("error");
        Assert.Equal((false, "1.0"), (Json.GetProperty("ok").GetBoolean(), this["contract_version"]));
        Assert.Equal(["code", "details", "message"], error.EnumerateObject().Select(m => m.Name).Order());
        Assert.Equal(this["message"], error.GetProperty("message").GetString());
        Assert.Contains(error.GetProperty("code").GetString(), codes);
        Assert.Equal(status == 422, error.GetProperty("details").TryGetProperty("errors", out _));
        Assert.Equal(["1.0"], Headers.GetValues("Contract-Version"));
        if (code is not null)
        {
            Assert.Equal(code, Code);
        }
        return this;
    }

    /// <summary>The answer, when its status is one of these.</summary>
    public Got IsOneOf(params int[] statuses)
    {
        Assert.True(statuses.Contains((int)Status), $"{Path}: {(int)Status}, wanted {string.Join(" or ", statuses)}: {Text}");
        return this;
    }

    public Got Is(int status)
    {
        Assert.True((int)Status == status, $"{Path}: {(int)Status}, wanted {status}: {Text}");
        return this;
    }
}

public static class Calls
{
    public static Task<Got> Get(this HttpClient http, string path, params (string Name, string Value)[] headers) => http.Send(HttpMethod.Get, path, null, headers);

    public static Task<Got> Post(this HttpClient http, string path, string? json = null, params (string Name, string Value)[] headers) =>
        http.Send(HttpMethod.Post, path, json, headers);

    public static Task<Got> Delete(this HttpClient http, string path) => http.Send(HttpMethod.Delete, path, null);

    public static Task<Got> Send(this HttpClient http, HttpMethod method, string path, string? json, params (string Name, string Value)[] headers) =>
        http.Send(method, path, json is null ? null : Encoding.UTF8.GetBytes(json), "application/json", headers);

    public static async Task<Got> Send(this HttpClient http, HttpMethod method, string path, byte[]? body, string contentType, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = new ByteArrayContent(body);
            request.Content.Headers.TryAddWithoutValidation("Content-Type", contentType);
        }
        foreach (var (name, value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }
        using var response = await http.SendAsync(request);
        return new(response.StatusCode, await response.Content.ReadAsStringAsync(), response.Headers, response.Content.Headers.ContentType?.MediaType) { Path = path };
    }

    /// <summary>A session of a chosen or generated id; answers the id.</summary>
    public static async Task<string> NewSession(this HttpClient http, string? id = null) =>
        (await http.Post("/sessions", id is null ? "{}" : $$"""{"session_id":"{{id}}"}""")).Is(201)["session_id"];

    public static Task<Got> Turn(this HttpClient http, string session, string message, bool wait = true) =>
        http.Post($"/sessions/{session}/turn", JsonSerializer.Serialize(new { message, wait_for_completion = wait }));

    /// <summary>The ids of a session's events that the page after <paramref name="since"/> holds.</summary>
    public static async Task<IReadOnlyList<JsonElement>> Events(this HttpClient http, string session, long since = 0, int limit = 1000) =>
        [.. (await http.Get($"/sessions/{session}/events?since_id={since}&limit={limit}")).Is(200).Json.GetProperty("events").EnumerateArray()];

    /// <summary>Asks until the answer fits, or fails with the last one.</summary>
    public static Task<Got> Until(this HttpClient http, string path, Func<Got, bool> fits, [CallerArgumentExpression(nameof(fits))] string what = "") =>
        Patience.Until(() => http.Get(path), fits, got => $"{(int)got.Status}: {got.Text}", $"{path}: {what}");
}

/// <summary>A reader of server-sent events.</summary>
public sealed class EventReader : IAsyncDisposable
{
    readonly HttpResponseMessage response;
    readonly StreamReader lines;

    EventReader(HttpResponseMessage response, StreamReader lines)
    {
        this.response = response;
        this.lines = lines;
    }

    /// <param name="json">A body to POST; null: the stream is asked for with GET.</param>
    public static async Task<EventReader> Open(HttpClient http, string path, long? lastEventId = null, string? json = null)
    {
        using var request = new HttpRequestMessage(json is null ? HttpMethod.Get : HttpMethod.Post, path)
        {
            Content = json is null ? null : new StringContent(json, Encoding.UTF8, "application/json"),
        };
        if (lastEventId is not null)
        {
            request.Headers.Add("Last-Event-ID", lastEventId.ToString());
        }
        return await Of(await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead));
    }

    /// <param name="response">Whose head was read; it ends with the reader.</param>
    public static async Task<EventReader> Of(HttpResponseMessage response)
    {
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        return new(response, new StreamReader(await response.Content.ReadAsStreamAsync()));
    }

    /// <summary>Comments seen so far.</summary>
    public int Comments { get; private set; }

    /// <summary>The next event; null: the stream ended.</summary>
    public async Task<(long Id, string Type, JsonElement Data)?> Next(CancellationToken ct)
    {
        var (id, type, data) = (0L, "", default(JsonElement));
        while (await lines.ReadLineAsync(ct) is { } line)
        {
            if (line.Length == 0 && data.ValueKind != JsonValueKind.Undefined)
            {
                return (id, type, data);
            }
            if (line.StartsWith(':'))
            {
                Comments++;
            }
            else if (line.StartsWith("id: ", StringComparison.Ordinal))
            {
                id = long.Parse(line[4..]);
            }
            else if (line.StartsWith("event: ", StringComparison.Ordinal))
            {
                type = line[7..];
            }
            else if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                data = JsonElement.Parse(line[6..]);
            }
        }
        return null;
    }

    /// <summary>Events up to the end of the stream, the time being bounded.</summary>
    public async Task<List<(long Id, string Type, JsonElement Data)>> ToEnd()
    {
        using var timeout = new CancellationTokenSource(Patience.Limit);
        var seen = new List<(long Id, string Type, JsonElement Data)>();
        while (await Next(timeout.Token) is { } one)
        {
            seen.Add(one);
        }
        return seen;
    }

    /// <summary>Events up to an id, the time being bounded.</summary>
    public async Task<List<(long Id, string Type, JsonElement Data)>> Through(long id)
    {
        using var timeout = new CancellationTokenSource(Patience.Limit);
        var seen = new List<(long Id, string Type, JsonElement Data)>();
        while (seen.Count == 0 || seen[^1].Id < id)
        {
            seen.Add(await Next(timeout.Token) ?? throw new InvalidOperationException($"The stream ended before {id}."));
        }
        return seen;
    }

    public ValueTask DisposeAsync()
    {
        lines.Dispose();
        response.Dispose();
        return ValueTask.CompletedTask;
    }
}
