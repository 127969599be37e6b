using System.Collections.Immutable;
using System.Text.Json;

namespace Cowork.Application.Models;

/// <summary>A model that is asked over HTTP: configuration <c>Cowork:Models:NAME</c>.</summary>
public sealed record ModelSettings
{
    public const string OpenAi = "openai";
    public const string Anthropic = "anthropic";
    public const string Offline = "offline";

    /// <summary>By which turns and sessions call it.</summary>
    public required string Name { get; init; }

    /// <summary><see cref="OpenAi"/>, also for everything that speaks its chat completions, <see cref="Anthropic"/> or <see cref="Offline"/>.</summary>
    public required string Provider { get; init; }

    /// <summary>By which the provider calls it.</summary>
    public required string Model { get; init; }

    /// <summary>Null: the provider's own.</summary>
    public Uri? BaseUrl { get; init; }

    /// <summary>Null: none is sent.</summary>
    public string? Key { get; init; }

    /// <summary>Of one answer.</summary>
    public int? MaxOutputTokens { get; init; }

    /// <summary>Members put into every request as they are, before those that we would put there: temperature, reasoning_effort, ….</summary>
    public ImmutableSortedDictionary<string, JsonElement> Request { get; init; } = ImmutableSortedDictionary.Create<string, JsonElement>(StringComparer.Ordinal);

    public ModelPrice? Price { get; init; }

    public ModelRetries Retries { get; init; } = ModelRetries.Default;

    public ModelTimeouts Timeouts { get; init; } = ModelTimeouts.Default;

    /// <summary>It can be asked: it has a key, or lies where we were told to look, which is where keys are often not wanted.</summary>
    public bool IsReady => Provider != Offline && (Key is not null || BaseUrl is not null);

    /// <summary>Without the key: settings may be logged.</summary>
    public override string ToString() => $"{Name} ({Provider}, {Model}{(BaseUrl is null ? "" : $" at {BaseUrl.Authority}")}{(Key is null ? ", no key" : "")})";
}

/// <summary>How long a model may take.</summary>
/// <param name="Connect">Until the connection stands.</param>
/// <param name="FirstByte">From the request to the answer's head; models that think answer late.</param>
/// <param name="Between">Between two pieces of the answer.</param>
/// <param name="Whole">From the request to the answer's end.</param>
public sealed record ModelTimeouts(TimeSpan Connect, TimeSpan FirstByte, TimeSpan Between, TimeSpan Whole)
{
    public static ModelTimeouts Default { get; } = new(TimeSpan.FromSeconds(10), TimeSpan.FromMinutes(3), TimeSpan.FromMinutes(2), TimeSpan.FromMinutes(15));
}
