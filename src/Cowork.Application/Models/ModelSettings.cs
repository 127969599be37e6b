using System.Collections.Immutable;
using System.Text.Json;

namespace Cowork.Application.Models;

/// <summary>The settings of a model: configuration <c>Cowork:Models:NAME</c>.</summary>
public sealed record ModelSettings
{
    public const string OpenAi = "openai";
    public const string Anthropic = "anthropic";
    public const string Offline = "offline";

    /// <summary>The name that turns and sessions use.</summary>
    public required string Name { get; init; }

    /// <summary><see cref="OpenAi"/> (also for servers that speak OpenAI's chat completions), <see cref="Anthropic"/> or <see cref="Offline"/>.</summary>
    public required string Provider { get; init; }

    /// <summary>The provider's name of the model.</summary>
    public required string Model { get; init; }

    /// <summary>Null: the provider's own address.</summary>
    public Uri? BaseUrl { get; init; }

    /// <summary>The HTTP proxy that requests go through; null: none, whatever the environment names.</summary>
    public Uri? Proxy { get; init; }

    /// <summary>Null: requests have no key.</summary>
    public string? Key { get; init; }

    /// <summary>Limit of one answer; null: the provider's own limit.</summary>
    public int? MaxOutputTokens { get; init; }

    /// <summary>Members added to each request, for example temperature. They override the members that the format would write.</summary>
    public ImmutableSortedDictionary<string, JsonElement> Request { get; init; } = ImmutableSortedDictionary.Create<string, JsonElement>(StringComparer.Ordinal);

    public ModelPrice? Price { get; init; }

    public ModelRetries Retries { get; init; } = ModelRetries.Default;

    public ModelTimeouts Timeouts { get; init; } = ModelTimeouts.Default;

    /// <summary>The model has a key, or an address of its own, where a key is often not needed.</summary>
    public bool IsReady => Provider != Offline && (Key is not null || BaseUrl is not null);

    /// <summary>Leaves the key out, because settings are logged.</summary>
    public override string ToString() => $"{Name} ({Provider}, {Model}{(BaseUrl is null ? "" : $" at {BaseUrl.Authority}")}{(Key is null ? ", no key" : "")})";
}

/// <summary>The time-outs of a request to a model.</summary>
/// <param name="Connect">For the connection.</param>
/// <param name="FirstContent">From the request to the answer's first content (text, thinking, or a part of a tool call); reasoning models answer late.</param>
/// <param name="Idle">Between two contents of the answer. Heartbeats, pings and empty pieces are none.</param>
/// <param name="Total">From the request to the answer's end.</param>
public sealed record ModelTimeouts(TimeSpan Connect, TimeSpan FirstContent, TimeSpan Idle, TimeSpan Total)
{
    public static ModelTimeouts Default { get; } = new(TimeSpan.FromSeconds(10), TimeSpan.FromMinutes(3), TimeSpan.FromMinutes(2), TimeSpan.FromMinutes(15));
}
