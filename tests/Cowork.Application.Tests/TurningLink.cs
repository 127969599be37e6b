using System.Runtime.InteropServices;
using System.Text;

namespace Cowork.Application.Tests;

/// <summary>A link in a session's folder that leads in and out of it by turns, as fast as the machine allows, until it is disposed.</summary>
sealed class TurningLink : IAsyncDisposable
{
    readonly CancellationTokenSource stop = new();
    readonly Task turning;

    /// <param name="path">Of the link, which is there from the first.</param>
    /// <param name="inside">What it leads to at first and every second time.</param>
    public TurningLink(string path, string inside, string outside)
    {
        File.CreateSymbolicLink(path, inside);
        turning = Task.Run(() =>
        {
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                File.CreateSymbolicLink(path + "-new", i % 2 == 0 ? outside : inside);
                // File.Move follows links to folders before it moves them.
                _ = Rename(Encoding.UTF8.GetBytes(path + "-new\0"), Encoding.UTF8.GetBytes(path + "\0"));
            }
        });
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await turning;
        stop.Dispose();
    }

    [DllImport("libc", EntryPoint = "rename")]
    static extern int Rename(byte[] from, byte[] to);
}
