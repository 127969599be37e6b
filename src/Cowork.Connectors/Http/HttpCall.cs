using System.Collections.Immutable;
using System.Text;
using System.Text.Json;

namespace Cowork.Connectors;

/// <summary>A request as a model writes it: <c>GET /orders?page=2</c>, or a JSON object with <c>method, path, query, headers, body</c>.</summary>
/// <param name="Path">With the query.</param>
/// <param name="ContentType">Of <paramref name="Body"/>.</param>
public sealed record HttpCall(HttpMethod Method, string Path, ImmutableList<KeyValuePair<string, string>> Headers, string? Body, string? ContentType)
{
    /// <summary>The form, for the model.</summary>
    public const string Usage = "A request is a line such as GET /orders?page=2, or a JSON object: "
        + """{"method":"POST","path":"/orders","query":{"dry":1},"headers":{"Accept":"text/csv"},"body":{"id":7}}.""";

    /// <summary>What a read may say beside its path. A header that overrides the method would make a write of it.</summary>
    static readonly string[] HeadersOfReads = ["accept", "accept-language", "if-modified-since", "if-none-match", "range", "prefer"];

    /// <summary>What belongs to the connection, to this host, or to the way of a message (RFC 9110, RFC 9112).</summary>
    static readonly string[] HeadersOfOthers =
    [
        "authorization", "connection", "content-length", "content-encoding", "cookie", "expect", "forwarded", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade", "user-agent", "via",
    ];

    static readonly string[] Members = ["method", "path", "query", "headers", "body"];

    /// <summary>It asks and changes nothing, as far as HTTP says (RFC 9110, section 9.2.1).</summary>
    public bool IsRead => Method == HttpMethod.Get || Method == HttpMethod.Head;

    /// <summary>The header is not for a connection or a request to set.</summary>
    /// <param name="except">Those that are.</param>
    internal static bool IsOthers(string name, params ReadOnlySpan<string> except) =>
        HeadersOfOthers.Contains(name.ToLowerInvariant()) && !except.Contains(name.ToLowerInvariant());

    /// <param name="fault">What is wrong with the text, as a sentence for the model; null: nothing.</param>
    public static HttpCall? Read(string text, out string? fault)
    {
        var trimmed = text.Trim();
        var call = trimmed.StartsWith('{') ? ReadJson(trimmed, out fault) : ReadLine(trimmed, out fault);
        fault ??= FaultOf(call!);
        return fault is null ? call : null;
    }

    static HttpCall? ReadLine(string line, out string? fault)
    {
        fault = null;
        if (line.StartsWith('/') || line.StartsWith("http", StringComparison.OrdinalIgnoreCase))
        {
            return new(HttpMethod.Get, line, [], null, null);
        }
        if (line.Split(' ', 2, StringSplitOptions.TrimEntries) is [var word, { Length: > 0 } path] && MethodOf(word) is { } method)
        {
            return new(method, path, [], null, null);
        }
        fault = Usage;
        return null;
    }

    static HttpCall? ReadJson(string json, out string? fault)
    {
        JsonElement call;
        try
        {
            call = JsonElement.Parse(json, new JsonDocumentOptions { AllowDuplicateProperties = false });
        }
        catch (JsonException)
        {
            fault = $"The request is not JSON. {Usage}";
            return null;
        }
        if (call.EnumerateObject().FirstOrDefault(member => !Members.Contains(member.Name)) is { Value.ValueKind: not JsonValueKind.Undefined } unknown)
        {
            fault = $"A request has no \"{unknown.Name}\". {Usage}";
            return null;
        }
        var method = call.TryGetProperty("method", out var word) ? word.ValueKind == JsonValueKind.String ? MethodOf(word.GetString()!) : null : HttpMethod.Get;
        if (method is null || !call.TryGetProperty("path", out var path) || path.ValueKind != JsonValueKind.String)
        {
            fault = $"A request needs a \"path\", and a \"method\" that is GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS. {Usage}";
            return null;
        }
        if (Pairs(call, "query", out fault) is not { } query || Pairs(call, "headers", out fault) is not { } headers)
        {
            return null;
        }
        var address = new StringBuilder(path.GetString());
        var separator = path.GetString()!.Contains('?', StringComparison.Ordinal) ? '&' : '?';
        foreach (var (name, value) in query)
        {
            address.Append(separator).Append(Uri.EscapeDataString(name)).Append('=').Append(Uri.EscapeDataString(value));
            separator = '&';
        }
        var type = headers.FirstOrDefault(header => header.Key.Equals("content-type", StringComparison.OrdinalIgnoreCase)).Value;
        var given = call.TryGetProperty("body", out var body) && body.ValueKind != JsonValueKind.Null;
        return new(
            method, address.ToString(), headers.RemoveAll(header => header.Key.Equals("content-type", StringComparison.OrdinalIgnoreCase)),
            !given ? null : body.ValueKind == JsonValueKind.String && type is not null ? body.GetString() : body.GetRawText(), type ?? (given ? "application/json" : null));
    }

    /// <summary>An object of texts, numbers and truth values, or of lists of them, which are pairs of one name.</summary>
    static ImmutableList<KeyValuePair<string, string>>? Pairs(JsonElement call, string member, out string? fault)
    {
        fault = null;
        if (!call.TryGetProperty(member, out var given) || given.ValueKind == JsonValueKind.Null)
        {
            return [];
        }
        var pairs = ImmutableList.CreateBuilder<KeyValuePair<string, string>>();
        if (given.ValueKind == JsonValueKind.Object)
        {
            foreach (var pair in given.EnumerateObject())
            {
                foreach (var value in pair.Value.ValueKind == JsonValueKind.Array ? pair.Value.EnumerateArray() : Enumerable.Repeat(pair.Value, 1))
                {
                    if (value.ValueKind is JsonValueKind.Object or JsonValueKind.Array or JsonValueKind.Null)
                    {
                        fault = $"\"{member}\" holds \"{pair.Name}\", which is neither a text nor a number.";
                        return null;
                    }
                    pairs.Add(new(pair.Name, value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText()));
                }
            }
            return pairs.ToImmutable();
        }
        fault = $"\"{member}\" must be a JSON object.";
        return null;
    }

    static string? FaultOf(HttpCall call)
    {
        if (call.IsRead && call.Body is not null)
        {
            return $"A {call.Method} request has no body.";
        }
        foreach (var (name, value) in call.Headers)
        {
            if (HttpHeaders.FaultOf(name, value) is { } fault)
            {
                return $"The header \"{VisibleName(name)}\": {fault}";
            }
            var isAllowed = call.IsRead ? HeadersOfReads.Contains(name.ToLowerInvariant()) : !IsOthers(name);
            if (!isAllowed)
            {
                return call.IsRead
                    ? $"A {call.Method} request takes no header \"{VisibleName(name)}\", only {string.Join(", ", HeadersOfReads)}."
                    : $"The header \"{VisibleName(name)}\" is not a request's to set.";
            }
        }
        return call.ContentType is { } type && HttpHeaders.FaultOf("content-type", type) is { } wrong ? $"The header \"content-type\": {wrong}" : null;
    }

    static string VisibleName(string name) => Application.FileText.Truncate(Application.VisibleText.Of(name), 100);

    static HttpMethod? MethodOf(string word) => word.ToUpperInvariant() switch
    {
        "GET" => HttpMethod.Get,
        "HEAD" => HttpMethod.Head,
        "POST" => HttpMethod.Post,
        "PUT" => HttpMethod.Put,
        "PATCH" => HttpMethod.Patch,
        "DELETE" => HttpMethod.Delete,
        "OPTIONS" => HttpMethod.Options,
        _ => null,
    };
}
