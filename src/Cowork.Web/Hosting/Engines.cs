using Cowork.Application.Storage;
using Cowork.Marten;

namespace Cowork.Web;

/// <summary>The storage engines of this build, by the names that <c>Cowork:Engine</c> knows them by.</summary>
public static class Engines
{
    static readonly Dictionary<string, Func<EngineOptions, IEngine>> ByName = new()
    {
        ["npgsql"] = options => new NpgsqlEngine(options),
        ["marten"] = options => new MartenEngine(options),
    };

    public static string Default { get; } = ByName.ContainsKey("marten") ? "marten" : "npgsql";

    public static IEnumerable<string> Names => ByName.Keys;

    /// <exception cref="ArgumentException">This build has no such engine.</exception>
    public static string Known(string name) =>
        ByName.ContainsKey(name) ? name : throw new ArgumentException($"This build has no engine \"{name}\"; it has {string.Join(", ", Names)}.");

    public static IEngine New(string name, EngineOptions options) => ByName[name](options);
}
