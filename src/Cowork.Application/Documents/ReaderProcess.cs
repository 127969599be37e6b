using System.Diagnostics;
using System.Globalization;

namespace Cowork.Application;

/// <summary>
/// A process that ends with this one. The kernel kills it when the thread that started it ends, so that thread is its own and waits for it.
/// </summary>
sealed class ReaderProcess : IDisposable
{
    readonly Process process;
    readonly TaskCompletionSource started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource exited = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public ReaderProcess(ProcessStartInfo start)
    {
        process = new() { StartInfo = start };
        new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "Reader of documents" }.Start();
    }

    /// <summary>Done when the process is there.</summary>
    /// <exception cref="IOException">It cannot be started.</exception>
    public Task Started => started.Task;

    /// <summary>Done when the process has gone.</summary>
    public Task Exited => exited.Task;

    public Stream Output => process.StandardOutput.BaseStream;

    public int ExitCode => process.ExitCode;

    /// <summary>Resident memory of the process in bytes; 0 when it has gone.</summary>
    public long MemoryBytes()
    {
        try
        {
            return File.ReadAllText($"/proc/{process.Id}/statm").Split(' ') is [_, var pages, ..]
                ? long.Parse(pages, CultureInfo.InvariantCulture) * Environment.SystemPageSize
                : 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            return 0;
        }
    }

    /// <summary>The first characters of the errors that the process writes; the others are read and forgotten.</summary>
    public async Task<string> ReadErrors(int charsMax)
    {
        var first = new char[charsMax];
        var count = await process.StandardError.ReadBlockAsync(first);
        var rest = new char[1024];
        while (await process.StandardError.ReadAsync(rest) > 0)
        {
            // The process must not wait for a reader.
        }
        return new(first, 0, count);
    }

    public void Kill()
    {
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (Exception e) when (e is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            // It has gone by itself.
        }
    }

    /// <summary>Kills the process if it is there. Its thread disposes of it when it has gone.</summary>
    public void Dispose()
    {
        if (started.Task.IsCompletedSuccessfully && !exited.Task.IsCompleted)
        {
            Kill();
        }
        exited.Task.ContinueWith(_ => process.Dispose(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
    }

    void Run()
    {
        try
        {
            process.Start();
            process.StandardInput.Close();
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or InvalidOperationException or IOException)
        {
            started.TrySetException(new IOException($"The program that reads documents cannot be started: {e.Message}", e));
            exited.TrySetResult();
            return;
        }
        started.TrySetResult();
        process.WaitForExit();
        exited.TrySetResult();
    }
}
