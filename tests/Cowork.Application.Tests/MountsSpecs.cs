using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Names that a folder has by what is mounted where.</summary>
public sealed class MountsSpecs
{
    const string Table =
        """
        21 1 254:0 / / rw,relatime - ext4 /dev/root rw
        22 21 0:20 / /proc rw,nosuid - proc proc rw
        30 21 254:16 / /srv rw - ext4 /dev/disk rw
        31 21 254:16 /cowork/data /data rw shared:1 - ext4 /dev/disk rw
        32 31 254:32 / /data/postgres rw - ext4 /dev/fast rw
        33 21 254:32 /base /copies/base rw - ext4 /dev/fast rw
        34 21 254:16 /a\040b\134c /mnt/with\040space rw - ext4 /dev/disk rw
        35 21 0:40 / /cover rw - tmpfs none rw
        36 21 254:16 /cowork /cover rw - ext4 /dev/disk rw
        a line of another form
        """;

    [Theory]
    [InlineData("/data", "/data", true)]
    [InlineData("/data", "/", true)]
    [InlineData("/data", "/data/blobs", true)]
    [InlineData("/data", "/srv", true)]
    [InlineData("/data", "/srv/cowork", true)]
    [InlineData("/data", "/srv/cowork/data/blobs", true)]
    [InlineData("/data", "/srv/cowork/data2", false)]
    [InlineData("/data", "/srv/other", false)]
    [InlineData("/data", "/copies", true)]
    [InlineData("/data", "/copies/base/5", true)]
    [InlineData("/data", "/copies2", false)]
    [InlineData("/data", "/cover/data", true)]
    [InlineData("/data", "/cover/x", false)]
    [InlineData("/data", "/home/ann", false)]
    [InlineData("/data", "/proc", false)]
    [InlineData(@"/srv/a b\c/x", "/mnt/with space", true)]
    [InlineData("/srv/a b", "/mnt/with space", false)]
    public void Folders_meet_under_whatever_names(string one, string other, bool meet)
    {
        var mounts = Mounts.Of(Table);
        Assert.Equal((meet, meet), (mounts.Meet(one, other), mounts.Meet(other, one)));
    }

    [Fact]
    public void The_systems_own_table_is_one_object_while_nothing_is_mounted()
    {
        Assert.Same(Mounts.Now(), Mounts.Now());
        Assert.True(Mounts.Now().Meet("/proc", "/proc/self"));
        Assert.False(Mounts.Now().Meet("/proc/1", "/proc/2"));
    }
}
