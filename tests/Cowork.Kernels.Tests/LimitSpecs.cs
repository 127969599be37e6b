using Cowork.Application;

namespace Cowork.Kernels.Tests;

/// <summary>Cells past a limit: they end, harm only themselves, and the next cell runs.</summary>
public sealed class LimitSpecs(LimitSpecs.SmallKernel kernel) : IClassFixture<LimitSpecs.SmallKernel>
{
    /// <summary>Limits that are reached soon.</summary>
    static readonly KernelLimits Small = new(TimeSpan.FromSeconds(60), 64 * 1024, 700L << 20, 32, 64L << 20);

    [Fact]
    public async Task A_cell_that_prints_without_end_is_cut_and_ended()
    {
        var run = (await Run("while True: print('x' * 1000)")).EndedFor(KernelLimitCodes.Output);
        Assert.Equal(Small.OutputBytes, run.Output.Length);
        Assert.Single(run.Messages.OfType<KernelMessage.Truncated>());
        await ItWorksAgain();
    }

    [Fact]
    public async Task Of_a_text_that_is_too_long_to_be_read_the_beginning_is_passed_on()
    {
        var run = (await Run("print('€' * 30_000_000)")).EndedFor(KernelLimitCodes.Output);
        Assert.Equal(new string('€', (int)Small.OutputBytes / 3), run.Output);
        await ItWorksAgain();
    }

    [Fact]
    public async Task A_cell_that_asks_for_100_gigabytes_gets_none()
    {
        var run = (await Run("hoard = bytearray(100 << 30)")).EndedFor(KernelLimitCodes.Memory);
        Assert.Equal("MemoryError", run.Error.Name);
        await ItWorksAgain();
    }

    [Fact]
    public async Task A_cell_that_takes_memory_piece_by_piece_is_ended()
    {
        (await Run("hoard = []\nwhile True: hoard.append(b'x' * (8 << 20))")).EndedFor(KernelLimitCodes.Memory);
        await ItWorksAgain();
    }

    [Fact]
    public async Task Processes_of_a_cell_share_its_memory()
    {
        (await Run(
            """
            import os, time
            for i in range(10):
                if os.fork() == 0:
                    hoard = b'x' * (100 << 20)
                    time.sleep(60)
            time.sleep(60)
            """)).EndedFor(KernelLimitCodes.Memory);
        await ItWorksAgain();
    }

    [Fact]
    public async Task A_fork_bomb_harms_only_its_kernel()
    {
        (await Run("import os\nwhile True: os.fork()")).EndedFor(KernelLimitCodes.Processes);
        await ItWorksAgain();
    }

    [Fact]
    public async Task Threads_are_bounded_as_processes_are()
    {
        (await Run("import threading\nfor i in range(100): threading.Thread(target=threading.Event().wait, daemon=True).start()")).EndedFor(KernelLimitCodes.Processes);
        await ItWorksAgain();
    }

    [Theory]
    [InlineData("open('/tmp/full', 'wb').write(bytes(300 << 20))")] // larger than a file may be
    [InlineData("for i in range(20): open(f'/tmp/full{i}', 'wb').write(bytes(20 << 20))")]
    [InlineData("for i in range(20): open(f'/dev/shm/full{i}', 'wb').write(bytes(20 << 20))")]
    [InlineData("open('full', 'wb').write(bytes(100 << 20))")]
    [InlineData("import itertools\nfor i in itertools.count(): open(f'full{i}', 'wb').write(bytes(4 << 20))")]
    [InlineData("import itertools\nfor i in itertools.count(): open(f'empty{i}', 'wb').close()")]
    [InlineData("import os\nos.mkdir('closed')\nos.chdir('closed')\nos.chmod('.', 0o300)\nfor i in range(10_000): open(f'full{i}', 'wb').write(bytes(4 << 20))")]
    [InlineData("import os\nkept = []\nwhile True:\n    kept.append(open('gone', 'wb'))\n    os.remove('gone')\n    kept[-1].write(bytes(4 << 20))\n    kept[-1].flush()")]
    public async Task A_cell_that_fills_a_disk_is_ended(string code)
    {
        (await Run(code)).EndedFor(KernelLimitCodes.Disk);
        // What lies in the workspace stays, and can be tidied up.
        Assert.True((await Run("import os, shutil, glob\n%cd /workspace\nfor n in os.listdir(): shutil.rmtree(n) if os.path.isdir(n) else os.remove(n)")).Done.Limit is null);
        Assert.Empty(Directory.GetFileSystemEntries(kernel.Inner.Folder));
        await ItWorksAgain();
    }

    [Fact]
    public async Task A_cell_that_takes_too_long_is_interrupted_and_its_kernel_restarted()
    {
        await using var quick = await RealKernel.Start(Small with { Time = TimeSpan.FromSeconds(1) });
        var run = (await quick.Run("import time\ntime.sleep(60)")).EndedFor(KernelLimitCodes.Time);
        Assert.Equal("KeyboardInterrupt", run.Error.Name);
        Assert.Equal("2", (await quick.Run("1 + 1")).Result);
    }

    [Fact]
    public async Task A_cell_that_takes_too_long_and_hears_no_interrupt_loses_its_kernel()
    {
        await using var quick = await RealKernel.Start(Small with { Time = TimeSpan.FromMilliseconds(500) });
        (await quick.Run("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass")).EndedFor(KernelLimitCodes.Time);
        Assert.Equal("2", (await quick.Run("1 + 1")).Result);
    }

    Task<CellRun> Run(string code) => kernel.Inner.Run(code);

    /// <summary>The kernel that came after it is a new one, and nothing of the old one is left.</summary>
    async Task ItWorksAgain() => Assert.Equal(
        "(0, [], 2)",
        (await Run("import os\nlen([n for n in globals() if n == 'hoard']), [n for n in os.listdir('/dev/shm') + os.listdir('/tmp') if 'full' in n], len([p for p in os.listdir('/proc') if p.isdigit()])")).Result);

    public sealed class SmallKernel : IAsyncLifetime
    {
        public RealKernel Inner { get; } = new() { Limits = Small };

        public ValueTask InitializeAsync() => Inner.InitializeAsync();

        public ValueTask DisposeAsync() => Inner.DisposeAsync();
    }
}
