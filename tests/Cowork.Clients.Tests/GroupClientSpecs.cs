using System.Diagnostics;
using System.Text.RegularExpressions;

namespace Cowork.Clients.Tests;

/// <summary>The client in docs/groups.md, as it stands there, in plain Node.</summary>
public sealed partial class GroupClientSpecs : DirectorySpecs
{
    const int LinesMax = 50;

    [Fact]
    public async Task The_reference_client_goes_the_whole_way()
    {
        var program = Program().Match(await File.ReadAllTextAsync(Path.Combine(Repository(), "docs/groups.md"))).Groups["program"].Value;
        Assert.InRange(program.Trim().Split('\n').Length, 30, LinesMax);
        Directory.CreateDirectory(Data);
        await using var host = await LiveHost.Start();
        var (code, told) = await CoworkCli.Run(host.Database, "app-key", "create", "--app", "support-desk", "--out", Path.Combine(Data, "app.pem"), "--data", host.Data);
        Assert.True(code == 0, told);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(Data, "app.pem")));
        var (_, listed) = await CoworkCli.Run(host.Database, "app-key", "list", "--data", host.Data);
        var (app, kid) = (listed.Split(' ')[0], listed.Split(' ')[1]);
        Assert.Equal("support-desk@default", app);
        var group = (await host.Http.Post("/groups", """{"title":"Support"}""")).Is(201)["group_id"];
        await File.WriteAllTextAsync(Path.Combine(Data, "client.mjs"), program);

        var (exit, output) = await Run();
        Assert.True(exit == 0, output);
        Assert.Contains("final hello", output, StringComparison.Ordinal);
        Assert.Contains("routing token of", output, StringComparison.Ordinal);
        Assert.EndsWith("closed", output.Trim(), StringComparison.Ordinal);

        // What the page says of a revoked key.
        (code, told) = await CoworkCli.Run(host.Database, "app-key", "revoke", "--kid", kid, "--data", host.Data);
        Assert.True(code == 0, told);
        (exit, output) = await Run();
        Assert.True(exit != 0 && output.Contains("token_invalid", StringComparison.Ordinal), output);
        Assert.Equal(1, (await CoworkCli.Run(host.Database, "app-key", "revoke", "--kid", kid, "--data", host.Data)).Code);
        // A file that is there is not written over.
        Assert.Equal(1, (await CoworkCli.Run(host.Database, "app-key", "create", "--app", "support-desk", "--out", Path.Combine(Data, "app.pem"), "--data", host.Data)).Code);
        Assert.Equal(2, (await CoworkCli.Run(host.Database, "app-key", "create", "--app", "no name")).Code);
        Assert.Equal(2, (await CoworkCli.Run(host.Database, "app-key", "nothing")).Code);

        async Task<(int Code, string Output)> Run()
        {
            var start = new ProcessStartInfo("node", [Path.Combine(Data, "client.mjs")]) { RedirectStandardOutput = true, RedirectStandardError = true };
            foreach (var (name, value) in ((string, string)[])
            [
                ("COWORK", host.Url), ("APP_ID", app), ("APP_KID", kid), ("APP_KEY", Path.Combine(Data, "app.pem")), ("GROUP", group), ("ORG", "default"), ("USER_ID", "local"),
            ])
            {
                start.Environment[name] = value;
            }
            using var process = Process.Start(start)!;
            var errors = process.StandardError.ReadToEndAsync();
            var said = await process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync();
            return (process.ExitCode, said + await errors);
        }
    }

    static string Repository()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Cowork.sln")))
        {
            folder = Path.GetDirectoryName(folder)!;
        }
        return folder;
    }

    [GeneratedRegex("```js\n(?<program>.*?)```", RegexOptions.Singleline)]
    private static partial Regex Program();
}
