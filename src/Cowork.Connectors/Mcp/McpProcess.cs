using System.ComponentModel;
using System.Diagnostics;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>
/// A process of a configured command: without the environment and the open files of this host, in a folder of its own, without new privileges, and as nobody where this host is
/// root. It is no sandbox: a server needs the network, and what the administrator configures is trusted as far as the user that it runs as. When this host ends, its standard
/// input ends, and it is up to the program to end then.
/// </summary>
sealed class McpProcess : IAsyncDisposable
{
    const int ErrorCharsMax = 400;

    const string NotStarted = "it cannot be started: is the program there?";

    const uint Nobody = 65534;

    const string SetPriv = "/usr/bin/setpriv";

    /// <summary>A server that is told to end has so long to do so.</summary>
    static readonly TimeSpan EndMax = TimeSpan.FromSeconds(2);

    static readonly string[] Folders = ["/usr/local/bin", "/usr/bin", "/bin"];

    readonly Process process;
    readonly McpFolders.Folder folder;
    readonly Task<string> errors;
    readonly TimeProvider clock;

    McpProcess(Process process, McpFolders.Folder folder, TimeProvider clock)
    {
        (this.process, this.folder, this.clock) = (process, folder, clock);
        errors = ReadErrors(process.StandardError);
    }

    public Stream Input => process.StandardInput.BaseStream;

    public Stream Output => process.StandardOutput.BaseStream;

    /// <summary>Starts a process.</summary>
    /// <param name="variables">Values for <see cref="McpCommand.Variables"/>.</param>
    /// <exception cref="IOException">It cannot be started; the message is a sentence for users.</exception>
    public static async ValueTask<McpProcess> Start(McpFolders folders, McpCommand command, IEnumerable<KeyValuePair<string, string>> variables, TimeProvider clock)
    {
        // A path that is absolute stays as it is.
        if (Folders.Select(at => Path.Combine(at, command.Program)).FirstOrDefault(File.Exists) is not { } program)
        {
            throw new IOException(NotStarted);
        }
        McpFolders.Folder folder;
        try
        {
            folder = folders.New();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException("it cannot be started: this host cannot make a folder for it", e);
        }
        var start = new ProcessStartInfo
        {
            WorkingDirectory = folder.Path,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        if (File.Exists(SetPriv))
        {
            start.FileName = SetPriv;
            string[] asNobody = Environment.IsPrivilegedProcess ? ["--reuid", $"{Nobody}", "--regid", $"{Nobody}", "--clear-groups", "--inh-caps=-all"] : [];
            foreach (var argument in (string[])[.. asNobody, "--no-new-privs", "--", program])
            {
                start.ArgumentList.Add(argument);
            }
            if (Environment.IsPrivilegedProcess)
            {
                FolderOwner.Give(folder.Path, Nobody, Nobody);
            }
        }
        else
        {
            start.FileName = program;
        }
        foreach (var argument in command.Arguments)
        {
            start.ArgumentList.Add(argument);
        }
        start.Environment.Clear();
        (start.Environment["PATH"], start.Environment["LANG"]) = (string.Join(':', Folders), "C.UTF-8");
        (start.Environment["HOME"], start.Environment["TMPDIR"]) = (folder.Path, folder.Path);
        foreach (var (name, value) in command.Environment.Concat(variables.Where(variable => command.Variables.Contains(variable.Key))))
        {
            start.Environment[name] = value;
        }
        InheritedFiles.KeepFromChildren();
        try
        {
            return new(Process.Start(start)!, folder, clock);
        }
        catch (Exception e) when (e is Win32Exception or IOException)
        {
            await folder.DisposeAsync();
            throw new IOException(NotStarted, e);
        }
    }

    /// <summary>How it ended, and the end of what it wrote to its standard error; null: it runs.</summary>
    public async ValueTask<string?> WhyEnded()
    {
        // A pipe that has ended tells so before the process has.
        using var time = new CancellationTokenSource(EndMax, clock);
        try
        {
            await process.WaitForExitAsync(time.Token);
        }
        catch (OperationCanceledException)
        {
            return null;
        }
        var said = await errors.WaitAsync(EndMax, clock).ContinueWith(read => read.IsCompletedSuccessfully ? read.Result : "", TaskScheduler.Default);
        return $"it ended with code {process.ExitCode}{(said.Length > 0 ? $": {PlainReason.Quoted(said, ErrorCharsMax)}" : "")}";
    }

    public async ValueTask DisposeAsync()
    {
        using var time = new CancellationTokenSource(EndMax, clock);
        try
        {
            process.StandardInput.Close();
            await process.WaitForExitAsync(time.Token);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or InvalidOperationException)
        {
            // It does not end by itself.
        }
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception or AggregateException)
        {
            // It has gone.
        }
        process.Dispose();
        await folder.DisposeAsync();
    }

    /// <summary>Reads on, so that the process never waits for a reader, and keeps the end.</summary>
    static async Task<string> ReadErrors(StreamReader errors)
    {
        var (kept, block) = ("", new char[4_096]);
        try
        {
            int count;
            while ((count = await errors.ReadAsync(block)) > 0)
            {
                kept += new string(block, 0, count);
                kept = kept.Length > ErrorCharsMax ? kept[^ErrorCharsMax..] : kept;
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or InvalidOperationException)
        {
            // The process has gone, or is being disposed of.
        }
        return kept;
    }
}
