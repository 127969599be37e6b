using System.Buffers;
using System.Collections.Frozen;
using System.Reflection;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;

using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Metadata;

namespace Cowork.Web.Http;

/// <summary>The JSON body of a POST. Every member is nullable, because a client can omit any; <see cref="Validate"/> reports the required ones.</summary>
public interface IRequestBody<T>
{
    static abstract JsonTypeInfo<T> Json { get; }

    /// <summary>The value of an empty body; null: the body is required.</summary>
    static virtual T? WhenEmpty => default;

    /// <summary>Fields that say how long to wait for an answer. A repeat under an idempotency key may have others.</summary>
    static virtual IReadOnlyList<string> WaitFields => [];

    /// <summary>
    /// Members whose JSON is kept as it is sent, with the nesting that they may have, themselves as 1. Numbers and escapes in them are what they are, because they are never
    /// read.
    /// </summary>
    static virtual IReadOnlyDictionary<string, int> OpaqueMembers => FrozenDictionary<string, int>.Empty;

    /// <summary>
    /// True: a member that the body does not have is refused. The routes of the contracts ignore such members (contracts/decisions.md, "Errors"); where all members are optional,
    /// a misspelt one would ask for something else. The same holds of query parameters.
    /// </summary>
    static virtual bool IsClosed => false;

    void Validate(ValidationErrors errors);
}

/// <summary>A validated body with the header <c>Idempotency-Key</c>.</summary>
/// <param name="Key">Null: the request has no such header.</param>
public sealed record Body<T>(T Value, RequestKey? Key) : IEndpointParameterMetadataProvider
    where T : class, IRequestBody<T>
{
    /// <summary>Characters of a member's name in the path of an error.</summary>
    const int NameCharsShown = 100;

    /// <exception cref="UnreadableRequestException">The body is missing, malformed or invalid.</exception>
    public static async ValueTask<Body<T>> BindAsync(HttpContext http)
    {
        var errors = new ValidationErrors();
        var key = IdempotencyHeader.Read(http, errors);
        if (T.IsClosed)
        {
            RefuseUnknown(http, errors);
        }
        var bytes = await Read(http);
        var json = bytes;
        T? value;
        if (bytes.IsEmpty)
        {
            value = T.WhenEmpty ?? throw new UnreadableRequestException(new ErrorResult(400, "malformed_json", "There is no body."));
        }
        else
        {
            RequestContent.RequireJson(http.Request);
            json = JsonValidator.Validate(bytes, errors, T.OpaqueMembers);
            errors.ThrowIfAny();
            value = Parse(json.Span);
            if (T.IsClosed)
            {
                RefuseUnknown(json.Span, errors);
            }
        }
        value.Validate(errors);
        errors.ThrowIfAny();
        return new(value, key is null ? null : new(
            IdempotencyHeader.Scope(http), key, Digest(Compared(json)), http.RequestServices.GetRequiredService<RunOptions>().IdempotencyKept, Digest(bytes.Span)));
    }

    public static void PopulateMetadata(ParameterInfo parameter, EndpointBuilder builder) =>
        builder.Metadata.Add(new AcceptsMetadata(["application/json"], typeof(T), isOptional: T.WhenEmpty is not null));

    /// <summary>What two requests under one key have in common: neither the order of members, white space, nor how long they wait.</summary>
    static ReadOnlySpan<byte> Compared(ReadOnlyMemory<byte> json)
    {
        if (json.IsEmpty)
        {
            return default;
        }
        try
        {
            using var body = JsonDocument.Parse(json, new() { MaxDepth = T.OpaqueMembers.Values.Append(JsonValidator.DepthMax).Max() + 1 });
            using var kept = new PooledBuffer(json.Length + 16);
            using (var writer = new Utf8JsonWriter(kept))
            {
                writer.WriteStartObject();
                foreach (var member in body.RootElement.EnumerateObject().Where(m => !T.WaitFields.Contains(m.Name)))
                {
                    if (T.OpaqueMembers.ContainsKey(member.Name))
                    {
                        writer.WriteString(member.Name, member.Value.GetRawText());
                    }
                    else
                    {
                        member.WriteTo(writer);
                    }
                }
                writer.WriteEndObject();
            }
            return CanonicalJson.Of(kept.Written);
        }
        catch (JsonException)
        {
            // A member twice has no canonical form.
            return json.Span;
        }
    }

    static void RefuseUnknown(HttpContext http, ValidationErrors errors)
    {
        var known = http.GetEndpoint()!.Metadata.OfType<IQueryParameter>().Select(parameter => parameter.Name).ToHashSet(StringComparer.OrdinalIgnoreCase);
        foreach (var name in http.Request.Query.Keys.Where(name => !known.Contains(name)))
        {
            errors.Add(FileText.Truncate(name, NameCharsShown), "There is no such parameter.");
        }
    }

    static void RefuseUnknown(ReadOnlySpan<byte> json, ValidationErrors errors)
    {
        var reader = new Utf8JsonReader(json, new() { MaxDepth = JsonValidator.DepthMax });
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            if (T.Json.Properties.All(property => property.Name != name))
            {
                errors.Add(
                    $"$.{FileText.Truncate(name, NameCharsShown)}",
                    $"No member of the body has this name. There are {string.Join(", ", T.Json.Properties.Select(property => property.Name))}.");
            }
            reader.Read();
            reader.Skip();
        }
    }

    static string Digest(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    static T Parse(ReadOnlySpan<byte> json)
    {
        try
        {
            return JsonSerializer.Deserialize(json, T.Json) ?? throw new UnreadableRequestException(ErrorResult.Invalid("$", "A JSON object is wanted."));
        }
        catch (JsonException e)
        {
            var path = e.Path ?? "$";
            var wanted = TypeAt(path) is { } type ? WordFor(type) : null;
            var detail = path == "$" ? "A JSON object is wanted." : wanted is null ? "Has the wrong type." : $"Has the wrong type: {wanted} is wanted.";
            throw new UnreadableRequestException(ErrorResult.Invalid(path, detail));
        }
    }

    /// <summary>The type of the value at a JSON path; null: the body has none there.</summary>
    /// <param name="path"><c>$.grants[0].allowWrite</c>.</param>
    static Type? TypeAt(string path)
    {
        var type = typeof(T);
        foreach (var part in path[1..].Replace("[", ".[", StringComparison.Ordinal).Split('.', StringSplitOptions.RemoveEmptyEntries))
        {
            if (!T.Json.Options.TryGetTypeInfo(type, out var shape))
            {
                return null;
            }
            var found = part[0] == '[' ? shape.ElementType : shape.Properties.FirstOrDefault(property => property.Name == part)?.PropertyType;
            if (found is null)
            {
                return null;
            }
            found = found.IsGenericType && found.GetGenericTypeDefinition() == typeof(Optional<>) ? found.GetGenericArguments()[0] : found;
            type = Nullable.GetUnderlyingType(found) ?? found;
        }
        return type;
    }

    static string WordFor(Type type) =>
        type == typeof(string) ? "a string" : type == typeof(bool) ? "true or false" : type == typeof(int) || type == typeof(long) ? "a whole number"
        : type == typeof(double) || type == typeof(decimal) ? "a number"
        : T.Json.Options.TryGetTypeInfo(type, out var shape) && shape.Kind == JsonTypeInfoKind.Dictionary ? "an object"
        : typeof(System.Collections.IEnumerable).IsAssignableFrom(type) ? "an array" : "an object";

    static async ValueTask<ReadOnlyMemory<byte>> Read(HttpContext http)
    {
        try
        {
            var body = await ReadToEnd(http);
            SignedCall.RequireBody(http, body.Span);
            return body;
        }
        catch (IOException e) when (e is not BadHttpRequestException && !http.RequestAborted.IsCancellationRequested)
        {
            // For example a chunk whose size is no number that a machine can hold.
            throw new UnreadableRequestException(ErrorResult.OfStatus(400));
        }
    }

    static async ValueTask<ReadOnlyMemory<byte>> ReadToEnd(HttpContext http)
    {
        if (http.Request.ContentLength > JsonValidator.BodyBytesMax)
        {
            throw new UnreadableRequestException(ErrorResult.OfStatus(413));
        }
        var reader = http.Request.BodyReader;
        var share = http.Features.GetRequiredFeature<RequestShare>();
        using var late = new CancellationTokenSource(
            http.RequestServices.GetRequiredService<HostSettings>().Limits.BodyTimeout, http.RequestServices.GetRequiredService<TimeProvider>());
        // A read that a token cancels leaves the server a reader that it cannot close.
        await using var ends = late.Token.Register(reader.CancelPendingRead);
        while (true)
        {
            var read = await reader.ReadAsync(http.RequestAborted);
            if (read.IsCanceled)
            {
                reader.AdvanceTo(read.Buffer.End);
                throw new UnreadableRequestException(ErrorResult.OfStatus(408));
            }
            if (read.Buffer.Length > JsonValidator.BodyBytesMax)
            {
                reader.AdvanceTo(read.Buffer.End);
                throw new UnreadableRequestException(ErrorResult.OfStatus(413));
            }
            if (!share.Covers(read.Buffer.Length))
            {
                reader.AdvanceTo(read.Buffer.End);
                throw new UnreadableRequestException(MemoryGuard.Pressure());
            }
            if (read.IsCompleted)
            {
                var bytes = read.Buffer.ToArray();
                reader.AdvanceTo(read.Buffer.End);
                return bytes;
            }
            reader.AdvanceTo(read.Buffer.Start, read.Buffer.End);
        }
    }
}

/// <summary>The body of a POST without fields: empty, or any JSON object.</summary>
public sealed record NoBody : IRequestBody<NoBody>
{
    public static JsonTypeInfo<NoBody> Json => HttpJson.Default.NoBody;

    public static NoBody WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
    }
}
