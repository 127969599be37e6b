using System.Diagnostics;

using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A session's folder beside things that it must not reach, gone with the test.</summary>
sealed class Workspace : IDisposable
{
    public Workspace()
    {
        Top = Directory.CreateTempSubdirectory("cowork-").FullName;
        Root = Directory.CreateDirectory(Path.Combine(Top, "work")).FullName;
        Beside = Directory.CreateDirectory(Path.Combine(Top, "beside")).FullName;
        File.WriteAllText(Path.Combine(Beside, "outside.txt"), OutsideText);
    }

    public const string OutsideText = "what lies outside";

    public string Top { get; }

    public string Root { get; }

    public string Beside { get; }

    public ToolContext Context => new("default", new("s"), new("r"), Grants.Of(Grant.Of(Root)), "r:1", 1);

    /// <summary>The session's folder as searches are given it.</summary>
    public SessionFolder Folder => new("default", new("s"), Grants.Of(Grant.Of(Root)));

    /// <summary>The uploaded files of a conversation that has none.</summary>
    public static RunFiles NoUploads { get; } = new(new FileQueries(new InMemoryEngine(ReadModels.Tables, new TestClock())));

    /// <summary>Searches in sessions' folders, by an index in memory.</summary>
    public static SessionFiles Files(FileBounds? bounds = null, ITexts? index = null, Policy? policy = null, RunFiles? uploads = null) =>
        new(policy ?? Policy.BuiltIn, index ?? new TextsInMemory(), uploads ?? NoUploads, TimeProvider.System, NullLogger<SessionFiles>.Instance, bounds);

    public string Write(string relative, string text)
    {
        var path = Path.Combine(Root, relative);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        return path;
    }

    public void Link(string relative, string target) => File.CreateSymbolicLink(Path.Combine(Root, relative), target);

    public void Command(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { WorkingDirectory = Root })!;
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }

    public void Dispose() => Directory.Delete(Top, recursive: true);
}
