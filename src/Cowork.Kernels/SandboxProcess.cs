using System.ComponentModel;
using System.Diagnostics;
using System.Text;

namespace Cowork.Kernels;

/// <summary>
/// A sandbox that runs, and the thread that started it. The sandbox ends with the thread (PR_SET_PDEATHSIG), so the thread stays as long as it runs, and reads its
/// lines meanwhile: reading a pipe would keep a thread of the pool as busy.
/// </summary>
/// <param name="onLine">Takes each line. While it waits, nothing more is read, and the kernel is stopped in the end.</param>
sealed class SandboxProcess(ProcessStartInfo start, int lineBytesMax, Action<ReadOnlyMemory<byte>> onLine) : IDisposable
{
    const int ErrorBytesMax = 16 * 1024;

    readonly Process process = new() { StartInfo = start };
    readonly TaskCompletionSource<string> exited = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly SemaphoreSlim writing = new(1);

    /// <summary>Completes when the sandbox is gone, with what it wrote to its standard error. Never fails.</summary>
    public Task<string> Exited => exited.Task;

    /// <summary>Id of the process that this process waits for: bubblewrap, outside of the sandbox.</summary>
    public int Id { get; private set; }

    public void Start() => new Thread(Run, maxStackSize: 512 * 1024) { IsBackground = true, Name = "Kernel" }.Start();

    /// <summary>Sends a line. No-op when the sandbox is gone, which <see cref="Exited"/> tells.</summary>
    public async Task Send(ReadOnlyMemory<byte> line)
    {
        await writing.WaitAsync();
        try
        {
            await process.StandardInput.BaseStream.WriteAsync(line);
            await process.StandardInput.BaseStream.FlushAsync();
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or InvalidOperationException)
        {
            // The sandbox has gone.
        }
        finally
        {
            writing.Release();
        }
    }

    public void Kill()
    {
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception or AggregateException or NotSupportedException)
        {
            // It has gone by itself.
        }
    }

    public void Dispose()
    {
        process.Dispose();
        writing.Dispose();
    }

    void Run()
    {
        try
        {
            process.Start();
            Id = process.Id;
        }
        catch (Exception e) when (e is Win32Exception or InvalidOperationException or IOException)
        {
            exited.TrySetResult(e.Message);
            return;
        }
        try
        {
            ReadLines(process.StandardOutput.BaseStream);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The pipe has gone with the sandbox.
        }
        var errors = ReadErrors(process.StandardError.BaseStream);
        process.WaitForExit();
        exited.TrySetResult(errors);
    }

    void ReadLines(Stream output)
    {
        var buffer = new byte[16 * 1024];
        var filled = 0;
        while (true)
        {
            var count = output.Read(buffer, filled, buffer.Length - filled);
            if (count == 0)
            {
                return;
            }
            var looked = filled;
            filled += count;
            var begin = 0;
            while (Array.IndexOf(buffer, (byte)'\n', Math.Max(looked, begin), filled - Math.Max(looked, begin)) is var end and >= 0)
            {
                onLine(buffer.AsMemory(begin, end - begin));
                begin = end + 1;
            }
            Buffer.BlockCopy(buffer, begin, buffer, 0, filled - begin);
            filled -= begin;
            if (filled == buffer.Length)
            {
                if (filled > lineBytesMax)
                {
                    Kill(); // no bridge of ours writes such a line
                    return;
                }
                Array.Resize(ref buffer, buffer.Length * 2);
            }
        }
    }

    /// <summary>The last of what was written: a stack trace ends with its reason.</summary>
    static string ReadErrors(Stream errors)
    {
        var last = new byte[ErrorBytesMax];
        var filled = 0;
        try
        {
            while (true)
            {
                if (filled == last.Length)
                {
                    Buffer.BlockCopy(last, last.Length / 2, last, 0, last.Length / 2);
                    filled /= 2;
                }
                var count = errors.Read(last, filled, last.Length - filled);
                if (count == 0)
                {
                    break;
                }
                filled += count;
            }
        }
        catch (IOException)
        {
            // What was read is what there is.
        }
        return Encoding.UTF8.GetString(last, 0, filled).Trim();
    }
}
