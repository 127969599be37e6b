using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Cli;

/// <summary>The options of commands about a data directory: <c>--data DIR</c> or <c>--data=DIR</c>, default <c>data</c>, and one flag.</summary>
/// <param name="Data">Absolute path of the data directory.</param>
/// <param name="HasFlag">The command's flag was given.</param>
sealed record CommandOptions(string Data, bool HasFlag)
{
    /// <summary>Reads what was given after the command's name.</summary>
    /// <param name="flag">Null: the command has none.</param>
    /// <returns>Null: an option is unknown or lacks its value; the error was printed.</returns>
    public static CommandOptions? Read(string command, string? flag, string[] options)
    {
        var (data, hasFlag) = ("data", false);
        for (var i = 0; i < options.Length; i++)
        {
            if (options[i] == flag)
            {
                hasFlag = true;
            }
            else if (options[i].StartsWith("--data=", StringComparison.Ordinal))
            {
                data = options[i]["--data=".Length..];
            }
            else if (options[i] == "--data" && i + 1 < options.Length)
            {
                data = options[++i];
            }
            else
            {
                Usage.Wrong($"{command} has no option {VisibleText.Of(options[i])}, or the option lacks its value");
                return null;
            }
        }
        return new(Path.GetFullPath(data), hasFlag);
    }
}

/// <summary>The options of commands about a tenant: <c>--org ORG</c>, default <c>default</c>, <c>--data DIR</c>, and those of the command, each with a value.</summary>
/// <param name="Data">Absolute path of the data directory.</param>
/// <param name="Given">What was given, by the option's name.</param>
sealed record TenantOptions(string Org, string Data, IReadOnlyDictionary<string, string> Given)
{
    const string DefaultOrg = "default";

    /// <summary>Reads what was given after the command's name: <c>--name VALUE</c> or <c>--name=VALUE</c>.</summary>
    /// <param name="own">Names of the command's own options.</param>
    /// <returns>Null: an option is unknown or lacks its value, or the tenant has no such name; the error was printed.</returns>
    public static TenantOptions? Read(string command, string[] own, string[] options)
    {
        var given = new Dictionary<string, string>();
        for (var i = 0; i < options.Length; i++)
        {
            var (name, value) = options[i].IndexOf('=', StringComparison.Ordinal) is > 0 and var at ? (options[i][..at], options[i][(at + 1)..])
                : (options[i], i + 1 < options.Length ? options[++i] : null);
            if (!(name is "--org" or "--data" || own.Contains(name)) || string.IsNullOrWhiteSpace(value))
            {
                Usage.Wrong($"{command} has no option {VisibleText.Of(name)}, or the option lacks its value");
                return null;
            }
            given[name] = value;
        }
        var org = given.GetValueOrDefault("--org", DefaultOrg);
        if (AppId.Parse($"x@{org}") is null)
        {
            Usage.Wrong($"--org is no name of a tenant: 1 to {Limits.IdCharsMax} letters, digits, dots, underscores and hyphens");
            return null;
        }
        return new(org, Path.GetFullPath(given.GetValueOrDefault("--data", "data")), given);
    }
}
