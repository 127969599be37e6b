using System.Diagnostics;

namespace Cowork.Testing.Hosts;

/// <summary>The built command line as a process.</summary>
public static class CoworkCli
{
    /// <summary>Runs it to its end. Answers the exit code, and what it printed to both streams.</summary>
    /// <param name="database">Connection string of the database; null: none is configured.</param>
    public static Task<(int Code, string Output)> Run(string? database, params string[] args) => Run(database, args, []);

    public static Task<(int Code, string Output)> Run(string? database, string[] args, params (string Name, string? Value)[] environment) => Run(database, args, "", environment);

    /// <param name="input">What is typed.</param>
    public static async Task<(int Code, string Output)> Run(string? database, string[] args, string input, params (string Name, string? Value)[] environment)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "cowork.dll"), .. args])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["ConnectionStrings__Cowork"] = database;
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }
        using var process = Process.Start(start)!;
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        var errors = process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, output + await errors);
    }
}
