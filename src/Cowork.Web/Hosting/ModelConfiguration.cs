using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Models;

namespace Cowork.Web;

/// <summary>Reads <c>Cowork:Models</c> and <c>Cowork:Prices</c> (docs/models.md).</summary>
static class ModelConfiguration
{
    /// <summary>US dollars per million tokens; a higher price is a typing error.</summary>
    const decimal PriceMax = 100_000;

    static readonly TimeSpan TimeoutMin = TimeSpan.FromMilliseconds(1);

    static readonly TimeSpan TimeoutMax = TimeSpan.FromDays(1);

    static readonly string[] Known =
    [
        "Provider", "Model", "BaseUrl", "Proxy", "Key", "KeyVariable", "MaxOutputTokens", "Attempts", "Request", "ConnectTimeout", "FirstByteTimeout", "BetweenTimeout",
        "AnswerTimeout",
    ];

    static readonly string[] KnownOfEmbeddings =
    [
        "Model", "Dimensions", "BaseUrl", "Proxy", "Key", "KeyVariable", "Request", "Attempts", "ConnectTimeout", "AnswerTimeout", "QueryTimeout",
    ];

    /// <summary>The configured models, in the order of their names.</summary>
    /// <exception cref="ArgumentException">The message says what is wrong, and never a key.</exception>
    public static IReadOnlyList<ModelSettings> Read(IConfiguration configuration) =>
        [.. configuration.GetSection("Cowork:Models").GetChildren().OrderBy(m => m.Key, StringComparer.Ordinal).Select(m => ReadOne(m, configuration))];

    /// <summary>The embedding model of <c>Cowork:Embeddings</c>; null: there is none.</summary>
    /// <exception cref="ArgumentException">The message says what is wrong, and never a key.</exception>
    public static EmbeddingSettings? ReadEmbeddings(IConfiguration configuration)
    {
        var section = configuration.GetSection("Cowork:Embeddings");
        if (!section.GetChildren().Any())
        {
            return null;
        }
        Require(section, KnownOfEmbeddings);
        var (baseUrl, usual) = (BaseUrl(section), new EmbeddingSettings { Model = "", Dimensions = 1 });
        return new()
        {
            Model = section.Text("Model") ?? throw new ArgumentException($"{section.Path} has no Model: the provider's name of the embedding model."),
            Dimensions = section.Number("Dimensions", 1, EmbeddingSettings.DimensionsMax)
                ?? throw new ArgumentException($"{section.Path} has no Dimensions: the length of the model's vectors, 1 to {EmbeddingSettings.DimensionsMax}."),
            BaseUrl = baseUrl ?? usual.BaseUrl,
            Proxy = Proxy(section),
            Key = Key(section, ModelSettings.OpenAi, baseUrl, configuration),
            Request = Request(section.GetSection("Request")),
            Retries = usual.Retries with { Attempts = section.Number("Attempts", 1, 20) ?? usual.Retries.Attempts },
            Connect = section.Time("ConnectTimeout", TimeoutMin, TimeoutMax) ?? usual.Connect,
            Answer = section.Time("AnswerTimeout", TimeoutMin, TimeoutMax) ?? usual.Answer,
            Query = section.Time("QueryTimeout", TimeoutMin, TimeoutMax) ?? usual.Query,
        };
    }

    static void Require(IConfigurationSection section, string[] known)
    {
        if (section.GetChildren().FirstOrDefault(c => !known.Contains(c.Key, StringComparer.OrdinalIgnoreCase)) is { } unknown)
        {
            throw new ArgumentException($"{section.Path} has no setting {unknown.Key}; it has {string.Join(", ", known)}.");
        }
    }

    static ModelSettings ReadOne(IConfigurationSection model, IConfiguration configuration)
    {
        Require(model, Known);
        var provider = model.Text("Provider")?.ToLowerInvariant();
        if (provider is not (ModelSettings.OpenAi or ModelSettings.Anthropic or ModelSettings.Offline))
        {
            throw model.InvalidValue("Provider", "openai (also for servers that speak OpenAI's chat completions), anthropic or offline");
        }
        if (model.Key == OfflineModel.Name && provider != ModelSettings.Offline)
        {
            throw new ArgumentException($"{model.Path}: the name offline belongs to the offline model.");
        }
        var name = model.Text("Model") ?? model.Key;
        var baseUrl = BaseUrl(model);
        var timeouts = ModelTimeouts.Default;
        return new()
        {
            Name = model.Key,
            Provider = provider,
            Model = name,
            BaseUrl = baseUrl,
            Proxy = Proxy(model),
            Key = Key(model, provider, baseUrl, configuration),
            MaxOutputTokens = model.Number("MaxOutputTokens", 1, 10_000_000),
            Request = Request(model.GetSection("Request")),
            Price = Price(configuration.GetSection($"Cowork:Prices:{name}")) ?? Price(configuration.GetSection($"Cowork:Prices:{model.Key}")),
            Retries = ModelRetries.Default with { Attempts = model.Number("Attempts", 1, 20) ?? ModelRetries.Default.Attempts },
            Timeouts = new(
                Timeout("ConnectTimeout") ?? timeouts.Connect, Timeout("FirstByteTimeout") ?? timeouts.FirstContent,
                Timeout("BetweenTimeout") ?? timeouts.Idle, Timeout("AnswerTimeout") ?? timeouts.Total),
        };

        TimeSpan? Timeout(string setting) => model.Time(setting, TimeoutMin, TimeoutMax);
    }

    /// <summary>
    /// The key, else the value of the variable that the settings name, else, for the provider's own address only, the value of the provider's usual variable:
    /// a key goes only to an address that was configured for it.
    /// </summary>
    static string? Key(IConfigurationSection model, string provider, Uri? baseUrl, IConfiguration configuration)
    {
        var usual = baseUrl is not null ? null : provider switch
        {
            ModelSettings.OpenAi => "OPENAI_API_KEY",
            ModelSettings.Anthropic => "ANTHROPIC_API_KEY",
            _ => null,
        };
        var variable = model.Text("KeyVariable") ?? usual;
        var key = model.Text("Key") ?? (variable is null ? null : configuration.Text(variable));
        return key is null || key.All(c => c is > ' ' and <= '~')
            ? key
            : throw new ArgumentException($"{model.Path}: the key holds a space or a character that an HTTP header cannot hold.");
    }

    static Uri? BaseUrl(IConfigurationSection model)
    {
        if (model.Text("BaseUrl") is not { } text)
        {
            return null;
        }
        return Uri.TryCreate(text, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" && url.UserInfo.Length == 0 && url.Fragment.Length == 0
            ? url
            : throw new ArgumentException($"{model.Path}:BaseUrl must be an absolute http or https address without a user, for example http://localhost:11434/v1.");
    }

    /// <summary>Its user and password, when it has them, are sent to it alone.</summary>
    static Uri? Proxy(IConfigurationSection model) => model.Text("Proxy") switch
    {
        null => null,
        { } text when Uri.TryCreate(text, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" && url.AbsolutePath == "/" => url,
        _ => throw new ArgumentException($"{model.Path}:Proxy must be an http or https address without a path, for example http://proxy.example:3128."),
    };

    /// <summary>Members of the request: a value that is JSON stays JSON, another one becomes a string; sections become objects, numbered ones arrays.</summary>
    static ImmutableSortedDictionary<string, JsonElement> Request(IConfigurationSection request) =>
        request.GetChildren().ToImmutableSortedDictionary(c => c.Key, c => JsonElement.Parse(Json(c)), StringComparer.Ordinal);

    static string Json(IConfigurationSection section)
    {
        if (section.Value is not { } value)
        {
            var parts = section.GetChildren().ToList();
            return parts.All(p => int.TryParse(p.Key, NumberStyles.None, CultureInfo.InvariantCulture, out _))
                ? $"[{string.Join(',', parts.Select(Json))}]"
                : $"{{{string.Join(',', parts.Select(p => $"{Quoted(p.Key)}:{Json(p)}"))}}}";
        }
        // Configuration spells a file's true and false with a capital letter.
        value = value is "True" or "False" ? value.ToLowerInvariant() : value;
        try
        {
            return JsonElement.Parse(value).GetRawText();
        }
        catch (JsonException)
        {
            return Quoted(value);
        }
    }

    static string Quoted(string text) => $"\"{JsonEncodedText.Encode(text)}\"";

    static ModelPrice? Price(IConfigurationSection price)
    {
        if (!price.GetChildren().Any())
        {
            return null;
        }
        return new(
            Money(price, "Input") ?? throw new ArgumentException($"{price.Path} has no Input: US dollars per million tokens."),
            Money(price, "Output") ?? throw new ArgumentException($"{price.Path} has no Output: US dollars per million tokens."),
            Money(price, "Cached"));
    }

    static decimal? Money(IConfigurationSection price, string name) => price.Text(name) switch
    {
        null => null,
        { } text when decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var money) && money <= PriceMax => money,
        _ => throw price.InvalidValue(name, "US dollars per million tokens, for example 2.50"),
    };
}
