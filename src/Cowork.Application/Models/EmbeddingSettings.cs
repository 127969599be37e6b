using System.Collections.Immutable;
using System.Text.Json;

namespace Cowork.Application.Models;

/// <summary>The settings of the embedding model: configuration <c>Cowork:Embeddings</c>.</summary>
public sealed record EmbeddingSettings
{
    /// <summary>The most dimensions of which PostgreSQL's extension keeps an index.</summary>
    public const int DimensionsMax = 2_000;

    /// <summary>The provider's name of the model.</summary>
    public required string Model { get; init; }

    /// <summary>Numbers in each vector of the model, 1 to <see cref="DimensionsMax"/>.</summary>
    public required int Dimensions { get; init; }

    /// <summary>Where it is asked, up to <c>/v1</c>.</summary>
    public Uri BaseUrl { get; init; } = new("https://api.openai.com/v1");

    /// <summary>The HTTP proxy that requests go through; null: none, whatever the environment names.</summary>
    public Uri? Proxy { get; init; }

    /// <summary>Null: requests have no key.</summary>
    public string? Key { get; init; }

    /// <summary>Members added to each request, for example <c>dimensions</c>. They override the members that it would have.</summary>
    public ImmutableSortedDictionary<string, JsonElement> Request { get; init; } = ImmutableSortedDictionary.Create<string, JsonElement>(StringComparer.Ordinal);

    /// <summary>For requests while chunks are indexed; a query has one attempt.</summary>
    public ModelRetries Retries { get; init; } = ModelRetries.Default with { Attempts = 3 };

    /// <summary>Until a connection stands.</summary>
    public TimeSpan Connect { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>From a request of chunks to the answer's end.</summary>
    public TimeSpan Answer { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>From a request of a query to the answer's end. Then the query is answered by full text alone.</summary>
    public TimeSpan Query { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Leaves the key out, because settings are logged.</summary>
    public override string ToString() => $"{Model} ({Dimensions} dimensions, at {BaseUrl.Authority}{(Key is null ? ", no key" : "")})";
}
