namespace Cowork.Cli;

/// <summary>The options of commands about a data directory: <c>--data DIR</c> or <c>--data=DIR</c>, default <c>data</c>, and one flag.</summary>
/// <param name="Data">Absolute path of the data directory.</param>
/// <param name="HasFlag">The command's flag was given.</param>
sealed record CommandOptions(string Data, bool HasFlag)
{
    /// <summary>Reads what was given after the command's name.</summary>
    /// <param name="flag">Null: the command has none.</param>
    /// <returns>Null: an option is unknown or lacks its value; the error and the usage were printed.</returns>
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
                Usage.Wrong($"{command} has no option {options[i]}, or the option lacks its value");
                return null;
            }
        }
        return new(Path.GetFullPath(data), hasFlag);
    }
}
